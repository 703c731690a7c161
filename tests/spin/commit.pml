/* Group commit with takeover (csrc/log_sync.c) over a kernel that may fail to write pages back, and says so once to every
 * description that was open by then; deaths before any step.
 *
 * Held: whatever is acknowledged is on the disk; nobody waits for ever (an end in which somebody still waits is an error).
 * One log; a position is a bit of `ondisk` and `dirty`. What a failed writeback lost is clean in the cache and never
 * written again: only a copy in a new file brings it to the disk.
 *
 * broken: PUBLISH_TAIL FRESH_CERTIFIES MARK_AFTER NUMBER_GROWS_IN_DOUBT NO_SIGNAL RETRY
 */
#define PROCESSES 3
#define DEATHS 2
#define FAILURES 1

byte tail, durable, inflight, sync_number, event, file;
byte ondisk, dirty;
byte lock; /* of syncs; names its owner */
byte deaths, failures;
bit poison;
bit dead[PROCESSES + 1];
bit error[PROCESSES + 1]; /* what the description of each has still to report */
byte opened_at[PROCESSES + 1], opened_file[PROCESSES + 1];

#define BELOW(end) ((1 << (end)) - 1)

/* The kernel writes dirty pages back, or fails to and tells all who have the file open. */
inline write_back()
{
    atomic {
        if
        :: dirty && failures < FAILURES ->
           failures++; dirty = 0; q = 1;
           do
           :: q <= PROCESSES ->
              if
              :: opened_file[q] == file + 1 -> error[q] = 1
              :: else
              fi;
              q++
           :: else -> break
           od
        :: ondisk = ondisk | dirty; dirty = 0
        fi;
        q = 0
    }
}

inline open_file()
{
    if
    :: opened_file[id] != file + 1 -> atomic { opened_file[id] = file + 1; error[id] = 0 }
       opened_at[id] = sync_number /* after: a round that began before may have eaten an error */
    :: else
    fi
}

/* SIGKILL, or not. The kernel frees the slot; descriptions go with it. */
#define MAY_DIE \
    if \
    :: atomic { deaths < DEATHS -> deaths++; dead[id] = 1; opened_file[id] = 0; goto gone } \
    :: skip \
    fi

inline sync_round()
{
    open_file();
    doubt = inflight > durable;
#ifdef FRESH_CERTIFIES
    if
    :: 0 ->
#else
    if
    :: doubt && opened_at[id] >= sync_number ->
#endif
       atomic { file++; ondisk = ondisk | BELOW(tail); dirty = 0; durable = tail; event++ } /* copied, and that synced */
       MAY_DIE;
       inflight = 0
    :: else ->
       atomic {
           target = tail;
           if
#ifdef NUMBER_GROWS_IN_DOUBT
           :: target > durable -> sync_number++
#else
           :: target > durable && !doubt -> sync_number++ /* else the round in doubt is still the one to be asked for */
#endif
           :: else
           fi
       };
       if
       :: target > durable ->
#ifndef MARK_AFTER
          inflight = target;
#endif
          MAY_DIE;
          write_back();
          atomic { bad = error[id]; error[id] = 0 };
#ifdef RETRY
          if
          :: bad -> write_back(); atomic { bad = error[id]; error[id] = 0 }
          :: else
          fi;
#endif
          MAY_DIE;
#ifdef MARK_AFTER
          inflight = target;
#endif
          if
          :: bad -> poison = 1
          :: else ->
             atomic {
#ifdef PUBLISH_TAIL
                 target = tail;
#endif
                 if
                 :: durable < target -> durable = target
                 :: else
                 fi;
                 event++
             };
             MAY_DIE;
             inflight = 0
          fi
       :: else
       fi
    fi
}

proctype process(byte id)
{
    byte end, seen, target, q;
    bit bad, doubt, lead;
    if
    :: open_file()
    :: skip /* opened later, when it is first needed */
    fi;
    atomic { dirty = dirty | (1 << tail); tail++; end = tail };
    do
    :: atomic { durable >= end -> assert((ondisk & BELOW(end)) == BELOW(end)) } break
    :: atomic { durable < end && poison -> break }
    :: atomic { durable < end && !poison && lock == 0 -> lock = id; lead = 1; bad = 0 }
       if
       :: durable < end -> sync_round()
       :: else
       fi;
       MAY_DIE;
       lock = 0;
       MAY_DIE;
#ifndef NO_SIGNAL
       event++
#endif
    :: atomic { durable < end && !poison && lock != 0 -> seen = event }
       if
       :: durable >= end || lock == 0 || poison /* looked again, after the announcement */
       :: else ->
          /* Asleep: woken, or a timeout at a time when the owner may be dead or gone. */
#ifdef NO_SIGNAL
          (event != seen);
#else
          (event != seen || poison || lock == 0 || dead[lock]);
#endif
          if
          :: atomic { lock != 0 && dead[lock] -> lock = 0 } /* by comparison; it is led like any free one */
          :: else
          fi
       fi
    od;
gone:
    skip
}

init {
    byte id;
    for (id : 1 .. PROCESSES) {
        run process(id)
    }
}
