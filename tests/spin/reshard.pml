/* Resharding (streamstore/reshard.py): intent in the catalog, a close frame in the parent, commit; by anybody, any number
 * of times; deaths before any step; writers beside it.
 *
 * One parent (shard 1) is split in one of two ways, at key 1 or at key 2: its keys 0 to 2 go to shards 2 and 3, or to 4 and
 * 5. Held: one step wins, and everybody carries out the same; every key has one open shard at any time; once a child has a
 * record no parent gets one.
 *
 * broken: COMMIT_FIRST INTENT_UNCHECKED OWN_STEP_COMMITTED CLOSE_UNCHECKED
 */
#define RESHARDERS 2
#define WRITERS 1
#define DEATHS 2

byte events;        /* of the catalog: appended under its lock, by comparison of its tail */
byte intent;        /* the step that stands there, 1 or 2; 0 = none */
byte committed;     /* the step that was published as done */
byte close_frame;   /* in the parent's log: the step that it holds; 0 = the log is open */
bit child_written;
bit dead[RESHARDERS + 1];
byte deaths;

#define MAY_DIE \
    if \
    :: atomic { deaths < DEATHS -> deaths++; dead[id] = 1; goto gone } \
    :: skip \
    fi

inline carry_out(step)
{
    if
    :: committed == 0 ->
       MAY_DIE;
#ifdef COMMIT_FIRST
       atomic { assert(committed == 0 || committed == step); committed = step }
       MAY_DIE;
#endif
       atomic { /* under the parent's append lock */
#ifdef CLOSE_UNCHECKED
           close_frame = step;
#else
           if
           :: close_frame == 0 -> close_frame = step
           :: else
           fi;
#endif
       }
       MAY_DIE;
#ifndef OWN_STEP_COMMITTED
       step = close_frame; /* the frame rules */
#endif
       atomic { /* the catalog's own lock; committing what is committed changes nothing */
           if
           :: committed == 0 -> committed = step; intent = 0; events++
           :: else -> assert(committed == step)
           fi;
           assert(committed == close_frame)
       }
    :: else
    fi
}

proctype resharder(byte id)
{
    byte step, tail;
    bit cut_off; /* its catalog was copied, or made anew: it may not see the intent of another */
        if
        :: cut_off = 1
        :: cut_off = 0
        fi;
        do
        :: tail = events;
           if
           :: committed -> break
           :: intent && !cut_off -> step = intent; carry_out(step)
           :: else ->
              select(step : 1 .. 2);
              if
              :: close_frame -> step = close_frame; carry_out(step)
#ifdef INTENT_UNCHECKED
              :: else -> atomic { assert(intent == 0 || intent == step); intent = step; events++ } carry_out(step)
#else
              :: else ->
                 if
                 :: atomic { tail == events || cut_off -> intent = step; events++ } carry_out(step)
                 :: atomic { tail != events && !cut_off }
                 fi
#endif
              fi
           fi
        od;
gone:   skip
}

proctype writer()
{
    byte view, puts;
    do
    :: puts < 2 ->
       view = committed; /* whom it knows for open */
       if
       :: view == 0 ->
          atomic { /* the parent's append lock */
              if
              :: close_frame == 0 -> assert(!child_written); puts++
              :: else /* the shard is closed: it looks again, and carries out what stands */
              fi
          }
          (close_frame == 0 || committed || intent || deaths)
       :: else -> atomic { child_written = 1; assert(close_frame != 0); puts++ }
       fi
    :: break
    od
}

init {
    byte id;
    for (id : 1 .. RESHARDERS) {
        run resharder(id)
    };
    for (id : 1 .. WRITERS) {
        run writer()
    }
}
