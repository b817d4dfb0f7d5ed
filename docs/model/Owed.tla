--------------------------------- MODULE Owed ---------------------------------
(* What a write of the rotator has led to is announced. The write leaves the announcement in the record's one slot,  *)
(* in the same conditional write; its writer publishes it and crosses it off. A crash in between delays it and loses *)
(* none: whoever touches the record next publishes what it finds before it puts its own there. Twice is allowed.     *)
EXTENDS Naturals, FiniteSets, TLC

CONSTANTS Processes, \* e.g. {p1, p2}
          MaxOwed,   \* announcements owed by writes
          Nil,
          PublishFirst,  \* BOOLEAN: what is found in the slot is published before it is replaced
          OwnToo,        \* BOOLEAN: ... also when the process wrote it itself and has not published it yet
          OnlyFound,     \* BOOLEAN: a write replaces only what its process has published; else it reads again
          AckFirst,      \* BOOLEAN: crossed off only after NATS has acknowledged it
          OnlyPublished, \* BOOLEAN: crosses off only what it has published
          KeepOnEvent,   \* BOOLEAN: an acquisition or disconnect leaves the slot as it is
          DueWhileOwed,  \* BOOLEAN: a record that owes something is due, whatever else it is
          DueAfter       \* BOOLEAN: crossing off leaves a record due that by then is due for a reason of its own

(* work: the record has a reason of its own to be due, now or later (a set to refresh, one to revoke); due: a sweep *)
(* will find it; hands: what a living process has written and not yet published.                                    *)
VARIABLES owed, work, due, count, published, hands, wk
vars == <<owed, work, due, count, published, hands, wk>>
Symmetry == Permutations(Processes)

Idle == [pc |-> "idle", found |-> Nil]

Init == owed = Nil /\ work = FALSE /\ due = FALSE /\ count = 0 /\ published = {} /\ hands = [p \in Processes |-> {}]
        /\ wk = [p \in Processes |-> Idle]

----------------------------------------------------------------------------
(* A touch: read, publish what is found, write. *)
Read(p) ==
  /\ wk[p].pc = "idle" /\ wk' = [wk EXCEPT ![p] = [pc |-> "read", found |-> owed]]
  /\ UNCHANGED <<owed, work, due, count, published, hands>>

PublishFound(p) ==
  /\ wk[p].pc = "read" /\ wk[p].found # Nil
  /\ published' = published \cup {wk[p].found} /\ hands' = [hands EXCEPT ![p] = @ \ {wk[p].found}]
  /\ wk' = [wk EXCEPT ![p].pc = "told"]
  /\ UNCHANGED <<owed, work, due, count>>

MayReplace(p) == \/ wk[p].found = Nil \/ wk[p].pc = "told" \/ ~PublishFirst
                 \/ (~OwnToo /\ wk[p].found \in hands[p])

Write(p) ==           \* the outcome of an attempt, with what it owes
  /\ wk[p].pc \in {"read", "told"} /\ MayReplace(p) /\ count < MaxOwed
  /\ IF OnlyFound /\ owed # wk[p].found THEN UNCHANGED <<owed, work, due, count, hands>>
     ELSE /\ count' = count + 1 /\ owed' = count + 1 /\ due' = TRUE /\ work' \in BOOLEAN
          /\ hands' = [hands EXCEPT ![p] = @ \cup {count + 1}]
  /\ wk' = [wk EXCEPT ![p] = Idle] /\ UNCHANGED published

CrossedOff == owed' = Nil /\ due' = (DueAfter /\ work)

Leave(p) ==           \* nothing to write after all: what was published is crossed off
  /\ wk[p].pc \in {"read", "told"} /\ wk' = [wk EXCEPT ![p] = Idle]
  /\ IF wk[p].pc = "told" /\ (owed = wk[p].found \/ ~OnlyPublished) THEN CrossedOff
     ELSE UNCHANGED <<owed, due>>
  /\ UNCHANGED <<work, count, published, hands>>

(* What a process owes itself is published beside its touches, and then crossed off. *)
Publish(p, e) ==
  /\ e \in hands[p] /\ hands' = [hands EXCEPT ![p] = @ \ {e}] /\ published' = published \cup {e}
  /\ UNCHANGED <<owed, work, due, count, wk>>

CrossOff(e) ==        \* some process knows that e is published
  /\ e \in published \/ (~AckFirst /\ \E p \in Processes : e \in hands[p])
  /\ owed # Nil /\ (owed = e \/ ~OnlyPublished) /\ CrossedOff
  /\ UNCHANGED <<work, count, published, hands, wk>>

Event ==              \* the consumer's write, which owes nothing itself
  /\ owed' = (IF KeepOnEvent THEN owed ELSE Nil) /\ work' \in BOOLEAN
  /\ due' = (work' \/ (DueWhileOwed /\ owed' # Nil))
  /\ UNCHANGED <<count, published, hands, wk>>

Crash(p) == wk' = [wk EXCEPT ![p] = Idle] /\ hands' = [hands EXCEPT ![p] = {}]
            /\ UNCHANGED <<owed, work, due, count, published>>

Next == \/ Event
        \/ \E p \in Processes : Read(p) \/ PublishFound(p) \/ Write(p) \/ Leave(p) \/ Crash(p)
                                \/ \E e \in hands[p] : Publish(p, e)
        \/ \E e \in 1..count : CrossOff(e)
Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
NoneLost == \A e \in 1..count : e \in published \/ owed = e \/ \E p \in Processes : e \in hands[p]
Found    == (owed # Nil \/ work) => due     \* a sweep finds what is owed, and what else there is to do
=============================================================================
