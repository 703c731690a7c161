/* Lock words that survive the death of their owner (csrc/lock.c): slots, generations, takeover.
 *
 * Lives come one after another, and may take the slot of one that died. A life may be killed before any of its steps;
 * the kernel then frees the byte of its slot, and nothing else changes. Held: at no time are two living owners inside,
 * and nobody waits for ever (an end in which somebody still waits is an error).
 *
 * broken: STEAL_BY_TIME NO_GENERATION NO_RAISE BLIND_STORE
 */
#define SLOTS 2
#define LIVES 3
#define DEATHS 2
#define WORD(slot, generation) ((slot) * 16 + (generation))

byte generation[SLOTS + 1]; /* rows of the lock file */
byte holder[SLOTS + 1];     /* who holds the byte of the slot, by the kernel; 0 = nobody */
byte word;                  /* the lock */
byte inside;                /* living owners in what the lock guards */
byte deaths;
bit killed[LIVES + 1];

proctype life(byte id)
{
    byte slot = 1, mine, seen;
    bit dead, within;
    {
        do /* attach: a free byte, then a new generation */
        :: atomic { holder[slot] == 0 -> holder[slot] = id } break
        :: slot = slot % SLOTS + 1
        od;
#ifdef NO_RAISE
        mine = WORD(slot, 1);
        generation[slot] = 1;
#else
        generation[slot]++;
        mine = WORD(slot, generation[slot]);
#endif
        do
        :: atomic { word == 0 -> word = mine } break
        :: atomic { word != 0 -> seen = word }
           /* Asleep until the word changes, or a timeout comes at a time when the owner may be dead. */
#ifdef STEAL_BY_TIME
           dead = 1;
#else
           (word != seen || seen / 16 == slot || holder[seen / 16] == 0 || generation[seen / 16] != seen % 16);
#ifdef NO_GENERATION
           dead = 0;
#else
           dead = generation[seen / 16] != seen % 16;
#endif
           if
           :: !dead && seen / 16 != slot -> dead = holder[seen / 16] == 0
           :: else
           fi;
#endif
           if
#ifdef BLIND_STORE
           :: dead -> word = mine; break
#else
           :: dead ->
              if
              :: atomic { word == seen -> word = mine } break
              :: atomic { word != seen -> skip }
              fi
#endif
           :: !dead && seen / 16 == slot && word == seen -> (word != seen) /* its own slot, of an owner that lives */
           :: else
           fi
        od;
        atomic { inside++; within = 1; assert(inside == 1) }
        skip; /* what the lock guards */
        atomic { inside--; within = 0 }
        word = 0;
        holder[slot] = 0; /* detach */
    } unless {
        atomic {
            killed[id] -> if
            :: within -> inside--
            :: else
            fi;
            if
            :: holder[slot] == id -> holder[slot] = 0
            :: else
            fi
        }
    }
}

active proctype killer()
{
    byte victim;
    do
    :: deaths < DEATHS -> select(victim : 1 .. LIVES); atomic { killed[victim] = 1; deaths++ }
    :: break
    od
}

init {
    byte id;
    for (id : 1 .. LIVES) {
        run life(id)
    }
}
