--------------------------------- MODULE Owed ---------------------------------
(* What a write of the rotator has led to is announced. The write leaves the announcement on the record, in the same *)
(* conditional write, beside those that are there; its writer publishes it. A crash in between delays it and loses   *)
(* none: whoever looks at the record next publishes what it finds, and crosses off by its own write what it knows to *)
(* be published. Twice is allowed.                                                                                   *)
EXTENDS Naturals, FiniteSets, TLC

CONSTANTS Processes, \* e.g. {p1, p2}
          MaxOwed,   \* announcements owed by writes
          KeepOthers,    \* BOOLEAN: a write leaves what its process does not know to be published
          OwnToo,        \* BOOLEAN: ... which is also what it wrote itself and has not published yet
          AckFirst,      \* BOOLEAN: crossed off only after NATS has acknowledged it
          OnlyPublished, \* BOOLEAN: crosses off only what it has published
          KeepOnEvent,   \* BOOLEAN: an acquisition or disconnect leaves what is owed as it is
          DueWhileOwed,  \* BOOLEAN: a record that owes something is due, whatever else it is
          DueAfter       \* BOOLEAN: crossing off leaves a record due that by then is due for a reason of its own

(* work: the record has a reason of its own to be due, now or later (a set to refresh, one to revoke); due: a sweep *)
(* will find it; hands: what a living process has written and not yet published.                                    *)
VARIABLES owed, work, due, count, published, hands, wk
vars == <<owed, work, due, count, published, hands, wk>>
Symmetry == Permutations(Processes)

Idle == [pc |-> "idle", found |-> {}, told |-> {}]

Init == owed = {} /\ work = FALSE /\ due = FALSE /\ count = 0 /\ published = {} /\ hands = [p \in Processes |-> {}]
        /\ wk = [p \in Processes |-> Idle]

----------------------------------------------------------------------------
(* A touch: read, publish what is found, write. *)
Read(p) ==
  /\ wk[p].pc = "idle"
  /\ wk' = [wk EXCEPT ![p] = [pc |-> "read", found |-> owed, told |-> IF OwnToo THEN {} ELSE owed \cap hands[p]]]
  /\ UNCHANGED <<owed, work, due, count, published, hands>>

PublishFound(p) ==
  /\ wk[p].pc = "read"
  /\ \E e \in wk[p].found \ wk[p].told :
       /\ published' = published \cup {e} /\ hands' = [hands EXCEPT ![p] = @ \ {e}]
       /\ wk' = [wk EXCEPT ![p].told = @ \cup {e}]
  /\ UNCHANGED <<owed, work, due, count>>

Write(p) ==           \* the outcome of an attempt, with what it owes
  /\ wk[p].pc = "read" /\ count < MaxOwed /\ count' = count + 1
  /\ owed' = (IF KeepOthers THEN owed \ wk[p].told ELSE {}) \cup {count + 1}
  /\ due' = TRUE /\ work' \in BOOLEAN
  /\ hands' = [hands EXCEPT ![p] = @ \cup {count + 1}]
  /\ wk' = [wk EXCEPT ![p] = Idle] /\ UNCHANGED published

CrossedOff(es) ==
  LET rest == IF OnlyPublished THEN owed \ es ELSE {}
  IN owed' = rest /\ due' = ((DueWhileOwed /\ rest # {}) \/ (DueAfter /\ work))

Leave(p) ==           \* nothing to write after all: what was published is crossed off
  /\ wk[p].pc = "read" /\ wk' = [wk EXCEPT ![p] = Idle]
  /\ IF wk[p].told \cap owed # {} THEN CrossedOff(wk[p].told) ELSE UNCHANGED <<owed, due>>
  /\ UNCHANGED <<work, count, published, hands>>

(* What a process owes itself is published beside its touches, and then crossed off. *)
Publish(p, e) ==
  /\ e \in hands[p] /\ hands' = [hands EXCEPT ![p] = @ \ {e}] /\ published' = published \cup {e}
  /\ UNCHANGED <<owed, work, due, count, wk>>

CrossOff(e) ==        \* some process knows that e is published
  /\ e \in published \/ (~AckFirst /\ \E p \in Processes : e \in hands[p])
  /\ e \in owed /\ CrossedOff({e})
  /\ UNCHANGED <<work, count, published, hands, wk>>

Event ==              \* the consumer's write, which owes nothing itself
  /\ owed' = (IF KeepOnEvent THEN owed ELSE {}) /\ work' \in BOOLEAN
  /\ due' = (work' \/ (DueWhileOwed /\ owed' # {}))
  /\ UNCHANGED <<count, published, hands, wk>>

Crash(p) == wk' = [wk EXCEPT ![p] = Idle] /\ hands' = [hands EXCEPT ![p] = {}]
            /\ UNCHANGED <<owed, work, due, count, published>>

Next == \/ Event
        \/ \E p \in Processes : Read(p) \/ PublishFound(p) \/ Write(p) \/ Leave(p) \/ Crash(p)
                                \/ \E e \in hands[p] : Publish(p, e)
        \/ \E e \in 1..count : CrossOff(e)
Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
NoneLost == \A e \in 1..count : e \in published \cup owed \/ \E p \in Processes : e \in hands[p]
Found    == (owed # {} \/ work) => due     \* a sweep finds what is owed, and what else there is to do
=============================================================================
