-------------------------------- MODULE Forget --------------------------------
(* The ids that a record remembers, and when one may be forgotten. Time goes in ticks. An event enters the stream at most     *)
(* Window ticks after its time, or is refused; an outbox may publish it again while that lasts. It is applied whenever its     *)
(* message is delivered, which may be much later: parked, or replayed. Events stand for acquisitions; all that counts here is  *)
(* which of them the record reflects.                                                                                          *)
EXTENDS Naturals, FiniteSets, Sequences

CONSTANTS Window, \* ticks for which an event may enter after its time
          Usual,  \* ids remembered before any is forgotten
          MaxLog, \* messages published
          MaxTime,
          Forget, \* "applied": by when the event entered that is newer; "clock": by what time it is; "never"
          Grow    \* BOOLEAN: with every id needed still, the list grows; FALSE: the event waits

VARIABLES now, log, pending, rec, ids
vars == <<now, log, pending, rec, ids>>

Init == now = 0 /\ log = <<>> /\ pending = {} /\ rec = 0 /\ ids = {}

NextId == Cardinality({log[i].id : i \in 1..Len(log)}) + 1

Enter(e) == /\ Len(log) < MaxLog /\ log' = Append(log, e) /\ pending' = pending \cup {Len(log) + 1}
            /\ UNCHANGED <<now, rec, ids>>
Publish == Enter([id |-> NextId, time |-> now, entered |-> now])
Repeat  == \E i \in 1..Len(log) : now <= log[i].time + Window /\ Enter([log[i] EXCEPT !.entered = now])
Tick    == now < MaxTime /\ now' = now + 1 /\ UNCHANGED <<log, pending, rec, ids>>

TimeOf(id) == log[CHOOSE i \in 1..Len(log) : log[i].id = id].time
EnteredOf(i) == IF i = 0 THEN 0 ELSE log[i].entered

(* What is still needed once the record reflects the message i. *)
Needed(i) == IF Cardinality(ids) < Usual THEN ids
             ELSE {d \in ids : CASE Forget = "applied" -> EnteredOf(i) <= TimeOf(d) + Window
                                 [] Forget = "clock"   -> now <= TimeOf(d) + Window
                                 [] OTHER -> TRUE}
IsRepeat(i) == \E j \in 1..(i - 1) : log[j].id = log[i].id
Room(i) == Grow \/ Cardinality(Needed(IF i > rec THEN i ELSE rec)) < Usual

(* HoldBack, as in Connection: a repeat waits for its original. *)
Free(i) == ~\E j \in pending : j < i /\ log[j].id = log[i].id

Apply(i) ==
  /\ i \in pending /\ Free(i)
  /\ IF log[i].id \in ids THEN pending' = pending \ {i} /\ UNCHANGED <<rec, ids>>
     ELSE IF ~Room(i) THEN UNCHANGED <<pending, rec, ids>>  \* parked
     ELSE /\ rec' = IF i > rec THEN i ELSE rec
          /\ ids' = Needed(rec') \cup {log[i].id}
          /\ pending' = pending \ {i}
  /\ UNCHANGED <<now, log>>

Next == Publish \/ Repeat \/ Tick \/ \E i \in 1..MaxLog : Apply(i)
Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
(* P2: once all is delivered, the record reflects the newest event that is no repeat. *)
Firsts == {i \in 1..Len(log) : ~IsRepeat(i)}
InOrder == (pending = {} /\ Len(log) > 0) => rec = CHOOSE i \in Firsts : \A j \in Firsts : j <= i
(* A newer event waits for no older one, however long. *)
NoWait == \A i \in pending : (i > rec /\ Free(i) /\ log[i].id \notin ids) => Room(i)
(* What nothing can repeat any more is not kept for good. *)
Short == Cardinality({d \in ids : EnteredOf(rec) > TimeOf(d) + Window}) <= Usual
=============================================================================
