/* The way of a put (csrc/log_append.c): reserve, copy, count, publish; deaths before any step; the next owner's look.
 *
 * A record is two words, body then header. Held: what a reader finds below the tail is whole and never changes; no word
 * is stored where one stands already (what lies beyond the tail is never built upon); the count is of what is published;
 * the pair of epoch and position never names two records.
 *
 * broken: TAIL_FIRST NO_RESERVATION NO_ROLL NO_RECOUNT
 */
#define WRITERS 3
#define ROOM 4     /* positions */
#define SEGMENTS 4
#define DEATHS 2
#define AT(s, p) ((s) * ROOM + (p))

byte body[20], header[20]; /* SEGMENTS * ROOM; a record's bytes are the number of its writer */
byte base[SEGMENTS];       /* where a segment begins; the later one cuts the earlier */
byte named[20];            /* who was published as (epoch, position) */
byte segment, epoch, tail, reserve_end, count;
byte owner;                /* of the append lock; a dead one is taken over */
bit dead[WRITERS + 1];
byte deaths;

inline where(position, found)
{
    found = segment;
    do
    :: found > 0 && base[found] > position -> found--
    :: else -> break
    od
}

#define STORE(words) atomic { assert(words[AT(segment, at)] == 0); words[AT(segment, at)] = id }

proctype writer(byte id)
{
    byte at, i;
    {
        atomic { (owner == 0 || dead[owner]) -> owner = id }
        if
#ifndef NO_ROLL
        :: reserve_end != tail -> /* somebody died half-way */
#ifndef NO_RECOUNT
           count = tail; /* by the frames that stand below the tail */
#endif
           assert(segment + 1 < SEGMENTS);
           base[segment + 1] = tail;
           epoch++;
           segment++;
           reserve_end = tail
#endif
        :: else
        fi;
        at = tail;
#ifndef NO_RESERVATION
        reserve_end = at + 1;
#endif
#ifdef TAIL_FIRST
        tail = at + 1;
#endif
        STORE(body);
        STORE(header);
        count++;
        atomic { /* the store of the tail is what publishes, and gives the number to this record for good */
            tail = at + 1;
            assert(named[AT(epoch, at)] == 0);
            named[AT(epoch, at)] = id
        }
        owner = 0
    } unless {
        atomic { dead[id] }
    }
}

active proctype reader()
{
    byte seen, position, found;
    do
    :: position < tail ->
       d_step { where(position, found) }
       seen = header[AT(found, position)];
       assert(seen != 0 && body[AT(found, position)] == seen);
       position++
    :: position == tail && (owner == 0 || dead[owner]) -> break
    od
}

/* A published record is never published again under its number, and a number that died unseen may be lost. */
active proctype killer()
{
    byte victim;
    do
    :: deaths < DEATHS -> select(victim : 1 .. WRITERS); atomic { dead[victim] = 1; deaths++ }
    :: break
    od
}

active proctype judge()
{
    /* At rest: nobody owns the lock, and nothing is half done. */
    if
    :: atomic { owner == 0 && reserve_end == tail && tail > 0 -> assert(count == tail) }
    :: timeout
    fi
}

init {
    byte id;
    for (id : 1 .. WRITERS) {
        run writer(id)
    }
}
