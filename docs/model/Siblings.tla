------------------------------- MODULE Siblings -------------------------------
(* The connections of several organizations to one company at one provider, where a disconnect of any of them ends   *)
(* them all: the provider revokes every token of the company. The disconnected record keeps the work of marking its  *)
(* siblings until it is done. Stamps of different connections compare, because all events enter one stream. Events   *)
(* are applied in any order, each by one conditional write; the index that finds siblings lags.                      *)
EXTENDS Naturals, Sequences, FiniteSets, TLC

CONSTANTS Orgs,    \* one connection each, e.g. {a, b}
          MaxLog,  \* messages published
          Nil,
          HeldOnly,      \* BOOLEAN: a disconnect concerns siblings only if its own record held a set, or is shown by a
                         \* late acquisition to have been given one before
          ByStamp,       \* BOOLEAN: a sibling is marked only if it is older than the disconnect
          KeepWork,      \* BOOLEAN: a new acquisition of the disconnected record leaves it its work
          Retry,         \* BOOLEAN: the work ends when all siblings are marked; FALSE models a pass that breaks off
          OutwaitIndex,  \* BOOLEAN: the last look for older siblings comes when what was written before shows
          SendLater,     \* BOOLEAN: ... and so does the look for newer ones before a revocation
          LookBack,      \* BOOLEAN: before it is acknowledged, an acquisition looks for a sibling's later disconnect
          Spare,         \* BOOLEAN: before each revocation is sent, siblings are looked at; a newer grant forbids it
          CheckReturn,   \* "always": a grant stored after a disconnect is checked by a refresh; "busy": only if a
                         \* revocation is under way by then; "never"
          CheckShown,    \* BOOLEAN: the check waits until its record shows, so that no revocation to come can miss it
          CheckAfterEnd  \* BOOLEAN: ... and until no revocation is under way

VARIABLES log, pending, written, rec, fresh, waits, flight, dead, spoiled
vars == <<log, pending, written, rec, fresh, waits, flight, dead, spoiled>>
Symmetry == Permutations(Orgs)

(* disc: stamp of the last disconnect, own or a sibling's; cut: of the last that concerns siblings; work: of the     *)
(* disconnect whose siblings are still to be marked; revoke: a token set waits for its revocation; check: a refresh is due at once.                         *)
None == [st |-> "none", stamp |-> 0, fam |-> Nil, disc |-> 0, cut |-> 0, work |-> 0, revoke |-> FALSE, check |-> FALSE]

Init ==
  /\ log = <<>> /\ pending = {} /\ written = {} /\ rec = [o \in Orgs |-> None] /\ fresh = {}
  /\ waits = [o \in Orgs |-> {}] /\ flight = [o \in Orgs |-> FALSE] /\ dead = {} /\ spoiled = FALSE

----------------------------------------------------------------------------
(* Upstream. The grant of acquisition i exists at the provider before its event is published; it is called i. *)
Publish(e) ==
  /\ Len(log) < MaxLog /\ log' = Append(log, e) /\ pending' = pending \cup {Len(log) + 1}
  /\ UNCHANGED <<written, rec, fresh, waits, flight, dead, spoiled>>

Acquire(o)    == Publish([kind |-> "acq", org |-> o])
Disconnect(o) == Publish([kind |-> "disc", org |-> o])

----------------------------------------------------------------------------
(* The index. A record shows some time after it was first written. Whoever writes a record that does not show yet  *)
(* may not find o either, if o does not show; so o has seen its siblings only when it shows itself and all that was *)
(* written before it did (two lags after its disconnect).                                                           *)
Exists(o)  == rec[o].st # "none"
Visible    == {o \in Orgs : Exists(o)} \ fresh
Index(o) ==
  /\ o \in fresh /\ fresh' = fresh \ {o}
  /\ waits' = [p \in Orgs |-> IF p = o THEN fresh' ELSE waits[p] \ {o}]
  /\ UNCHANGED <<log, pending, written, rec, flight, dead, spoiled>>

Settled(o) == o \notin fresh /\ waits[o] = {}

Written(o) ==
  /\ fresh' = IF Exists(o) THEN fresh ELSE fresh \cup {o}
  /\ waits' = IF Exists(o) THEN [waits EXCEPT ![o] = fresh] ELSE waits

----------------------------------------------------------------------------
(* Consumer *)
Gone(r, d) ==         \* record r after a disconnect of stamp d
  [r EXCEPT !.st = "disconnecting", !.stamp = d, !.disc = d, !.fam = Nil, !.check = FALSE,
            !.revoke = @ \/ (r.fam # Nil)]

Marked(r, d) ==       \* ... of a sibling: it is told of here too; work that is left is about it from now on
  [Gone(r, d) EXCEPT !.cut = d, !.work = IF @ = 0 THEN 0 ELSE d]

Work(r, d) ==         \* record r is known to have held a grant that its disconnect of stamp d ended
  IF d > r.cut THEN [r EXCEPT !.cut = d, !.work = d] ELSE r

Counts(r) == ~HeldOnly \/ r.fam # Nil \/ r.revoke

ToCheck(disc, orgs) == \* is a grant stored now, after a disconnect of that stamp (0: none) of these, to be checked?
  \/ CheckReturn = "always" /\ disc # 0
  \/ CheckReturn = "busy" /\ \E o \in orgs : flight[o]

Effect(i) ==
  LET e == log[i]
      r == rec[e.org]
  IN CASE e.kind = "acq" /\ i > r.stamp ->
            [r EXCEPT !.st = "active", !.stamp = i, !.fam = i, !.cut = IF KeepWork THEN @ ELSE 0,
                      !.work = IF KeepWork THEN @ ELSE 0, !.revoke = FALSE,
                      !.check = ToCheck(r.disc, {e.org})]
       [] e.kind = "acq" /\ i < r.disc /\ r.st \in {"disconnecting", "disconnected"} ->
            [Work(r, r.disc) EXCEPT !.st = "disconnecting", !.revoke = TRUE]
       [] e.kind = "acq" /\ i < r.disc -> Work(r, r.disc)
       [] e.kind = "disc" /\ i > r.stamp -> IF Counts(r) THEN Work(Gone(r, i), i) ELSE Gone(r, i)
       [] e.kind = "disc" /\ i > r.disc -> [(IF Counts(r) THEN Work(r, i) ELSE r) EXCEPT !.disc = i]
       [] OTHER -> r

Apply(i) ==
  /\ i \in pending \ written /\ written' = written \cup {i}   \* its id is remembered: a repeat changes nothing
  /\ rec' = [rec EXCEPT ![log[i].org] = Effect(i)] /\ Written(log[i].org)
  /\ UNCHANGED <<log, pending, flight, dead, spoiled>>

(* Acknowledged after its write and, for an acquisition, a look at the siblings; a crash before it delivers it again. *)
Ack(i) ==
  LET o == log[i].org
      discs == {0} \cup {rec[s].cut : s \in Visible \ {o}}
      last == CHOOSE d \in discs : \A c \in discs : c <= d
      mine == log[i].kind = "acq" /\ rec[o].stamp = i /\ rec[o].st \in {"active", "reauth"}
  IN
  /\ i \in pending \cap written /\ pending' = pending \ {i}
  /\ rec' = IF mine /\ LookBack /\ last > i THEN [rec EXCEPT ![o] = Marked(@, last)]
             ELSE IF mine /\ rec[o].st = "active" /\ ToCheck(last, Visible) THEN [rec EXCEPT ![o].check = TRUE] ELSE rec
  /\ Written(o)
  /\ UNCHANGED <<log, written, flight, dead, spoiled>>

----------------------------------------------------------------------------
(* The work of a disconnected record, one conditional write for each sibling *)
Mark(o, s) ==
  /\ rec[o].work # 0 /\ s \in Visible \ {o}
  /\ rec[s].stamp < rec[o].work \/ (~ByStamp /\ rec[s].st = "active")
  /\ rec' = [rec EXCEPT ![s] = Marked(@, rec[o].work)] /\ Written(s)
  /\ UNCHANGED <<log, pending, written, flight, dead, spoiled>>

Finish(o) ==
  /\ rec[o].work # 0
  /\ Retry => \A s \in Visible \ {o} : rec[s].stamp >= rec[o].work
  /\ OutwaitIndex => Settled(o)
  /\ rec' = [rec EXCEPT ![o].work = 0]
  /\ UNCHANGED <<log, pending, written, fresh, waits, flight, dead, spoiled>>

----------------------------------------------------------------------------
(* Revocation: a look, a request, and its effect at the provider some time later *)
Newer(o) == {s \in Visible \ {o} : rec[s].st = "active" /\ rec[s].stamp > rec[o].disc}

Revoke(o) ==
  /\ rec[o].st = "disconnecting" /\ ~flight[o] /\ (SendLater => Settled(o))
  /\ IF ~rec[o].revoke \/ (Spare /\ Newer(o) # {})
     THEN rec' = [rec EXCEPT ![o].st = "disconnected", ![o].revoke = FALSE] /\ UNCHANGED <<flight, spoiled>>
     ELSE flight' = [flight EXCEPT ![o] = TRUE] /\ spoiled' = (spoiled \/ Newer(o) # {}) /\ UNCHANGED rec
  /\ UNCHANGED <<log, pending, written, fresh, waits, dead>>

Land(o) ==
  /\ flight[o] /\ flight' = [flight EXCEPT ![o] = FALSE]
  /\ dead' = dead \cup {i \in 1..Len(log) : log[i].kind = "acq"}
  /\ rec' = IF rec[o].st = "disconnecting" THEN [rec EXCEPT ![o].revoke = FALSE] ELSE rec
  /\ UNCHANGED <<log, pending, written, fresh, waits, spoiled>>

Check(o) ==           \* a refresh: the grant works, or is known to be dead
  /\ rec[o].st = "active" /\ rec[o].check /\ (CheckShown => o \notin fresh)
  /\ CheckAfterEnd => \A s \in Orgs : ~flight[s]
  /\ rec' = [rec EXCEPT ![o].check = FALSE, ![o].st = IF rec[o].fam \in dead THEN "reauth" ELSE @]
  /\ UNCHANGED <<log, pending, written, fresh, waits, flight, dead, spoiled>>

Next == \/ \E o \in Orgs : Acquire(o) \/ Disconnect(o) \/ Index(o) \/ Finish(o) \/ Revoke(o) \/ Land(o) \/ Check(o)
        \/ \E i \in 1..MaxLog : Apply(i) \/ Ack(i)
        \/ \E o, s \in Orgs : Mark(o, s)
Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
Quiet == /\ pending = {} /\ fresh = {}
         /\ \A o \in Orgs : rec[o].work = 0 /\ ~flight[o] /\ rec[o].st # "disconnecting" /\ ~rec[o].check
Last(S) == IF S = {} THEN 0 ELSE CHOOSE i \in S : \A j \in S : j <= i
LastOf(kind, o, n) == Last({i \in 1..n : log[i].kind = kind /\ log[i].org = o})
LastAcq(o) == LastOf("acq", o, Len(log))
(* The last of n messages that may end the company: a disconnect of an organization that is given a grant some time. *)
MayEnd(n) == Last({i \in 1..n : log[i].kind = "disc" /\ LastAcq(log[i].org) # 0})
(* The last that must: its organization was given one since the last that may.                                       *)
MustEnd == Last({i \in 1..Len(log) : log[i].kind = "disc" /\ LastOf("acq", log[i].org, i) > MayEnd(i - 1)})

(* What in-order delivery to a company with one record for all would give: older siblings go, newer ones stay. Where a *)
(* disconnect may end a grant and need not (what the organization held was ended before, or came later), both will do. *)
InOrder == Quiet => \A o \in Orgs : LastAcq(o) # 0 =>
             LET stays == rec[o].st \in {"active", "reauth"} /\ rec[o].fam = LastAcq(o)
                 goes  == rec[o].st = "disconnected"
                 must  == LastAcq(o) < MustEnd \/ LastAcq(o) < LastOf("disc", o, Len(log))
             IN IF must THEN goes ELSE stays \/ (goes /\ LastAcq(o) < MayEnd(Len(log)))
(* After a disconnect of the company that nothing has followed, no grant of it lives on at the provider. *)
AllRevoked == (Quiet /\ MustEnd = Len(log)) => \A i \in 1..Len(log) : log[i].kind = "acq" => i \in dead
(* No revocation is sent once a newer grant is seen. *)
Spared == ~spoiled
(* A grant that a revocation has killed all the same is known to be dead. *)
KnownDead == Quiet => \A o \in Orgs : rec[o].st = "active" => rec[o].fam \notin dead
=============================================================================
