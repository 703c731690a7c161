/* Starting a segment (csrc/log_roll.c) on a sync log: file, header, sync, name, entry; deaths of its makers; a roll that
 * fails; and at any time a power cut, after which stands what was synced and any part of the rest.
 *
 * Held: after the cut every acknowledged record is found, by the rule that a later segment cuts all earlier ones at its
 * base.
 *
 * broken: NAME_NOT_SYNCED HEADER_NOT_SYNCED GO_ON_AFTER_HEADER ACK_BEFORE_SYNC CUT_AT_OLD_BASE
 */
#define MAKERS 2
#define RECORDS 3
#define SEGMENTS 4
#define DEATHS 1
#define AT(s, p) ((s) * RECORDS + (p))

/* Each is 0 (not there), 1 (in the cache), 2 (durable). Of a record: in that segment, at that position. */
byte header[SEGMENTS], name[SEGMENTS], base[SEGMENTS], record[20];
byte segment, tail, reserve_end, acked, next_ordinal = 1;
byte owner, deaths, failures;
bit dead[MAKERS + 1], off;

/* SIGKILL, or not; and with the power everybody goes. */
#define MAY_DIE \
    if \
    :: atomic { off -> goto gone } \
    :: atomic { !off && deaths < DEATHS -> deaths++; dead[id] = 1; goto gone } \
    :: atomic { !off -> skip } \
    fi

inline durable(thing)
{
    atomic { if :: thing == 1 -> thing = 2 :: else fi }
}

inline roll()
{
    whole = reserve_end == tail;
    reserve_end = tail + 1; /* whoever takes over rolls once more */
    MAY_DIE;
    atomic {
    new = next_ordinal;
    do /* what a dead maker committed is passed over; what has no header is removed and made anew */
    :: new < SEGMENTS && header[new] != 0 -> new++
    :: else -> break
    od
    };
    if
    :: new >= SEGMENTS -> goto gone
    :: else
    fi;
    atomic { name[new] = 1; base[new] = tail };
    MAY_DIE;
#ifdef CUT_AT_OLD_BASE
    base[new] = base[segment];
#endif
    begun = 0;
    if
    :: failures == 0 -> failures++; failed = 1 /* no space, before a byte of it was written */
    :: failed = 0
    fi;
    if
    :: !failed ->
       header[new] = 1; begun = 1;
       MAY_DIE;
       if
       :: failures == 0 -> failures++; failed = 1 /* no memory, no descriptor: it is unlinked, and may come back */
       :: skip
       fi
    :: else
    fi;
    if
    :: failed && !begun -> reserve_end = (whole -> tail : reserve_end); atomic { name[new] = 0; base[new] = 0 }
#ifdef GO_ON_AFTER_HEADER
    :: failed && begun -> reserve_end = tail
#else
    :: failed && begun -> skip
#endif
    :: else ->
#ifndef HEADER_NOT_SYNCED
       durable(header[new]);
       MAY_DIE;
#endif
#ifndef NAME_NOT_SYNCED
       durable(name[new]);
       MAY_DIE;
#endif
       atomic { next_ordinal = new + 1; segment = new };
       MAY_DIE;
       reserve_end = tail
    fi
}

proctype maker(byte id)
{
    byte new, puts;
    bit whole, failed, begun;
        do
        :: atomic { (owner == 0 || dead[owner]) -> owner = id }
           failed = 0;
           if
           :: segment == 0 || reserve_end != tail -> roll()
           :: else -> if :: roll() :: skip fi /* full, or idle */
           fi;
           if
           :: segment != 0 && reserve_end == tail && tail < RECORDS ->
              atomic { record[AT(segment, tail)] = 1; tail++; reserve_end = tail }
#ifdef ACK_BEFORE_SYNC
              acked = tail;
#endif
              owner = 0;
              MAY_DIE;
              atomic { /* a sync: of all that stands below the tail, through whichever segments */
                  puts = acked;
                  do
                  :: puts < tail ->
                     new = segment;
                     do
                     :: new > 0 && base[new] > puts -> new--
                     :: else -> break
                     od;
                     record[AT(new, puts)] = 2; puts++
                  :: else -> break
                  od
              }
              MAY_DIE;
              atomic { if :: !off && puts > acked -> acked = puts :: else fi }
           :: else -> owner = 0; goto gone
           fi
        :: break
        od;
gone:   atomic { if :: owner == id && !dead[id] -> owner = 0 :: else fi }
}

/* The power goes. What was not durable stands or does not, each for itself; then everything acknowledged is looked for. */
active proctype cut()
{
    byte s, p, found;
    atomic {
    off = 1; s = 1;
    do
    :: s < SEGMENTS ->
       if :: header[s] == 1 -> if :: header[s] = 0 :: header[s] = 2 fi :: else fi;
       if :: name[s] == 1 -> if :: name[s] = 0 :: name[s] = 2 fi :: else fi;
       s++
    :: else -> break
    od;
    do
    :: p < acked ->
       found = 0; s = SEGMENTS - 1;
       do /* newest first: the first that stands and begins at or below p holds it, if nothing newer cuts it away */
       :: s > 0 && header[s] == 2 && name[s] == 2 && base[s] <= p && found == 0 -> found = s
       :: s > 0 && (header[s] != 2 || name[s] != 2 || base[s] > p || found != 0) -> s--
       :: s == 0 -> break
       od;
       assert(found != 0 && record[AT(found, p)] == 2);
       p++
    :: else -> break
    od
    }
}

init {
    byte id;
    for (id : 1 .. MAKERS) {
        run maker(id)
    }
}
