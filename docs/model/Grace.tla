-------------------------------- MODULE Grace --------------------------------
(* A provider that takes a used refresh token again for a while, and what a fleet may make of that when the outcome  *)
(* of an attempt stayed unknown: it posts the same token again. One connection, one grant. Events, disconnects and   *)
(* the last resort after the window are those of Connection.tla. Each action that touches the record is one          *)
(* conditional write of the store.                                                                                   *)
EXTENDS Integers, FiniteSets, TLC

CONSTANTS Workers,   \* e.g. {w1, w2}
          MaxAtt,    \* attempts to refresh
          MaxCrash,  \* worker crashes
          MaxTick,   \* ticks of the clock
          Period,    \* ticks after its first use in which the provider takes a token again
          Deadline,  \* ticks after a claim by which the provider has its request, or never gets it
          Kinds,     \* what a repeated use yields: the "same" successor, another beside it ("both"), another in
                     \* its place ("void")
          Nil,
          FromFirst,        \* BOOLEAN: the window counts from the first claim of the token, not from the last
          RoomForPost,      \* BOOLEAN: a post is begun only if its deadline still lies within the window
          WaitWire,         \* BOOLEAN: posted again only when no request of the attempt before can still arrive
          WaitHeld,         \* BOOLEAN: ... and no process holds its answer uncommitted
          LookInRescue,     \* BOOLEAN: ... and the rescue stream does not hold it either
          ReleaseOnlyFirst, \* BOOLEAN: a repeat that is definitely refused leaves the attempts before it unresolved
          CommitBy          \* which answer of one token is kept: the "first" to come, the "newest" attempt's, that of
                            \* the claim's "owner"

Toks == 0..MaxAtt

VARIABLES now, kind, minted, parent, used, void, misuse, rec, wk, wire, rescue, lost, atts, crashes
provider == <<kind, minted, parent, used, void, misuse>>
vars == <<now, provider, rec, wk, wire, rescue, lost, atts, crashes>>
Symmetry == Permutations(Workers)

Idle == [pc |-> "idle", tok |-> 0, gen |-> 0, att |-> 0, try |-> 0, at |-> 0, new |-> Nil]

Init ==
  /\ now = 0 /\ kind \in Kinds /\ minted = 0 /\ parent = [t \in Toks |-> Nil] /\ used = [t \in Toks |-> Nil]
  /\ void = {} /\ misuse = FALSE
  /\ rec = [tok |-> 0, gen |-> 0, won |-> 0, claim |-> Nil]
  /\ wk = [w \in Workers |-> Idle] /\ wire = {} /\ rescue = {} /\ lost = {} /\ atts = 0 /\ crashes = 0

----------------------------------------------------------------------------
(* Time passes, but not past the deadline of a claim whose request may still be sent or under way. *)
Tick ==
  /\ now < MaxTick /\ now' = now + 1
  /\ \A w \in Workers : wk[w].pc \in {"claimed", "sent"} => now < wk[w].at + Deadline
  /\ \A m \in wire : now < m.at + Deadline
  /\ UNCHANGED <<provider, rec, wk, wire, rescue, lost, atts, crashes>>

----------------------------------------------------------------------------
(* Provider: once a successor has been used, the token before it is as spent as with a strict one (Shopify says so). *)
Fresh(t) == used[t] = Nil /\ t \notin void
Kids(t)  == {k \in 1..minted : parent[k] = t}
Again(t) == used[t] # Nil /\ now < used[t] + Period /\ \A k \in Kids(t) : used[k] = Nil

Heard(m, a) ==        \* the answer reaches whoever still waits for it, or nobody
  /\ wire' = wire \ {m}
  /\ \/ \E w \in Workers : wk[w].pc = "sent" /\ wk[w].att = m.att /\ wk' = [wk EXCEPT ![w].pc = a.pc, ![w].new = a.new]
                           /\ UNCHANGED lost
     \/ /\ wk' = [w \in Workers |-> IF wk[w].pc = "sent" /\ wk[w].att = m.att THEN Idle ELSE wk[w]]
        /\ lost' = IF a.new = Nil THEN lost ELSE lost \cup {a.new}

Refuse(m) ==          \* a definite refusal (429): nothing was spent
  /\ m \in wire /\ Heard(m, [pc |-> "busy", new |-> Nil])
  /\ UNCHANGED <<now, provider, rec, rescue, atts, crashes>>

Take(m) ==
  /\ m \in wire
  /\ LET t == m.tok
         mint == Fresh(t) \/ (Again(t) /\ kind # "same")
     IN IF ~Fresh(t) /\ ~Again(t)
        THEN /\ misuse' = TRUE /\ Heard(m, [pc |-> "busy", new |-> Nil]) /\ UNCHANGED <<minted, parent, used, void>>
        ELSE /\ used' = [used EXCEPT ![t] = IF @ = Nil THEN now ELSE @]
             /\ minted' = IF mint THEN minted + 1 ELSE minted
             /\ parent' = IF mint THEN [parent EXCEPT ![minted + 1] = t] ELSE parent
             /\ void' = IF Again(t) /\ kind = "void" THEN void \cup Kids(t) ELSE void
             /\ Heard(m, [pc |-> "answer", new |-> IF mint THEN minted + 1 ELSE CHOOSE k \in Kids(t) : TRUE])
             /\ UNCHANGED misuse
  /\ UNCHANGED <<now, kind, rec, rescue, atts, crashes>>

----------------------------------------------------------------------------
(* Rotator *)
Claimed(w, try, first) ==
  /\ atts < MaxAtt /\ atts' = atts + 1
  /\ rec' = [rec EXCEPT !.claim = [att |-> atts + 1, gen |-> rec.gen, try |-> try, first |-> first]]
  /\ wk' = [wk EXCEPT ![w] = [pc |-> "claimed", tok |-> rec.tok, gen |-> rec.gen, att |-> atts + 1, try |-> try,
                              at |-> now, new |-> Nil]]
  /\ UNCHANGED <<now, provider, wire, rescue, lost, crashes>>

Claim(w) == wk[w].pc = "idle" /\ rec.claim = Nil /\ Claimed(w, 1, now)

OnTheWay(att) == \/ \E w \in Workers : wk[w].att = att /\ wk[w].pc \in {"claimed", "sent"}
                 \/ \E m \in wire : m.att = att
InHand(att)   == \E w \in Workers : wk[w].att = att /\ wk[w].pc = "answer"

(* The outcome stayed unknown: the claim is taken over, and the same token posted again within the window. *)
Repost(w) ==
  /\ wk[w].pc = "idle" /\ rec.claim # Nil /\ rec.claim.gen = rec.gen
  /\ now + (IF RoomForPost THEN Deadline ELSE 0) < rec.claim.first + Period
  /\ WaitWire => ~OnTheWay(rec.claim.att)
  /\ WaitHeld => ~InHand(rec.claim.att)
  /\ LookInRescue => \A r \in rescue : r.gen # rec.gen
  /\ Claimed(w, rec.claim.try + 1, IF FromFirst THEN rec.claim.first ELSE now)

Send(w) ==
  /\ wk[w].pc = "claimed" /\ wk' = [wk EXCEPT ![w].pc = "sent"]
  /\ wire' = wire \cup {[att |-> wk[w].att, tok |-> wk[w].tok, at |-> wk[w].at]}
  /\ UNCHANGED <<now, provider, rec, rescue, lost, atts, crashes>>

Timeout(w) ==         \* the request may still arrive
  /\ wk[w].pc = "sent" /\ wk' = [wk EXCEPT ![w] = Idle]
  /\ UNCHANGED <<now, provider, rec, wire, rescue, lost, atts, crashes>>

Release(w) ==
  /\ wk[w].pc = "busy" /\ wk' = [wk EXCEPT ![w] = Idle]
  /\ rec' = IF rec.claim # Nil /\ rec.claim.att = wk[w].att /\ (wk[w].try = 1 \/ ~ReleaseOnlyFirst)
            THEN [rec EXCEPT !.claim = Nil] ELSE rec
  /\ UNCHANGED <<now, provider, wire, rescue, lost, atts, crashes>>

(* "first" is the rule of the code: the fence is the token set, whoever holds an answer for it may save it, and a    *)
(* second answer is stale. "newest" replaces the set by a later attempt's answer, and leaves a later attempt's claim *)
(* alone. "owner" drops the answer of whoever was taken over.                                                        *)
Later(a) == rec.claim # Nil /\ rec.claim.try > a.try
Save(a) ==
  LET saved == [rec EXCEPT !.tok = a.new, !.gen = a.gen + 1, !.won = a.try,
                           !.claim = IF CommitBy = "newest" /\ Later(a) THEN @ ELSE Nil]
  IN CASE CommitBy = "owner" /\ (rec.claim = Nil \/ rec.claim.att # a.att) -> rec
       [] rec.gen = a.gen -> saved
       [] CommitBy = "newest" /\ rec.gen = a.gen + 1 /\ rec.won < a.try -> saved
       [] OTHER -> rec

Commit(w) ==
  /\ wk[w].pc = "answer" /\ rec' = Save(wk[w]) /\ wk' = [wk EXCEPT ![w] = Idle]
  /\ UNCHANGED <<now, provider, wire, rescue, lost, atts, crashes>>

Rescue(w) ==          \* the store is down: the sealed answer goes to the rescue stream
  /\ wk[w].pc = "answer" /\ rescue' = rescue \cup {wk[w]} /\ wk' = [wk EXCEPT ![w] = Idle]
  /\ UNCHANGED <<now, provider, rec, wire, lost, atts, crashes>>

RescueCommit(r) ==
  /\ r \in rescue /\ rec' = Save(r) /\ rescue' = rescue \ {r}
  /\ UNCHANGED <<now, provider, wk, wire, lost, atts, crashes>>

Crash(w) ==
  /\ crashes < MaxCrash /\ wk[w].pc # "idle" /\ crashes' = crashes + 1
  /\ lost' = IF wk[w].pc = "answer" THEN lost \cup {wk[w].new} ELSE lost
  /\ wk' = [wk EXCEPT ![w] = Idle]
  /\ UNCHANGED <<now, provider, rec, wire, rescue, atts>>

Next == \/ Tick
        \/ \E m \in wire : Take(m) \/ Refuse(m)
        \/ \E w \in Workers : Claim(w) \/ Repost(w) \/ Send(w) \/ Timeout(w) \/ Release(w) \/ Commit(w) \/ Rescue(w)
                              \/ Crash(w)
        \/ \E r \in rescue : RescueCommit(r)
Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
Quiet == wire = {} /\ rescue = {} /\ \A w \in Workers : wk[w].pc = "idle"

NoReuse == ~misuse                                       \* P4: nothing is posted that counts as reuse
Usable  == (Quiet /\ rec.claim = Nil) => Fresh(rec.tok)  \* what is stored, with no attempt unresolved, works
(* P5: of the tokens that lead on at least one is held, unless the process died or the network swallowed them all. A *)
(* token whose sibling has been used leads nowhere.                                                                  *)
Held    == {rec.tok} \cup {wk[w].new : w \in Workers} \cup {r.new : r \in rescue}
LeadsOn == {t \in 0..minted : Fresh(t) /\ (t = 0 \/ \A k \in Kids(parent[t]) : used[k] = Nil)}
NoLostRotation == LeadsOn \cap Held # {} \/ LeadsOn \subseteq lost
=============================================================================
