------------------------------ MODULE Connection ------------------------------
(* One connection of the token worker, seen by a fleet of workers: events that    *)
(* arrive in any order and any number of times, refreshes against a provider that *)
(* rotates strictly and revokes the whole family when a used token comes back,    *)
(* crashes, pauses, lost replies, a store that is down when the answer arrives.   *)
(* Each action that touches the record is one conditional write of the store.     *)
EXTENDS Naturals, Sequences, FiniteSets, TLC

CONSTANTS Workers,   \* e.g. {w1, w2}
          MaxLog,    \* messages published
          MaxGen,    \* rotations of one family
          MaxCrash,  \* worker crashes
          MaxAtt,    \* attempts to refresh, last resorts included
          Nil,
          HoldBack,      \* BOOLEAN: a possible repeat waits for earlier unsettled messages
          RevokeLate,    \* BOOLEAN: a late acquisition older than the disconnect is revoked
          RememberStale, \* BOOLEAN: the id of an event found stale is remembered too
          LookInRescue,  \* BOOLEAN: the last resort first looks into the rescue stream
          KeepSpent,     \* BOOLEAN: a claim remembers the token it may spend; an event with that token is stale
          NamedAttrs,    \* BOOLEAN: FALSE models a commit that writes back the whole record it once read
          ReleaseOnlyRefused, \* BOOLEAN: FALSE models a claim released after a timeout or 5xx, as for a plain retry
          TakeBack,      \* BOOLEAN: an attempt that is known to have left its token as it was takes the fingerprint back
          LatestOnly,    \* BOOLEAN: ... only if it is the latest at that token; FALSE: whenever an answer kept the token
          SoleOnly,      \* BOOLEAN: ... and, unless its answer kept the token, only if there was no other attempt at it
          AfterClaim,    \* BOOLEAN: ... also when an event has ended its claim meanwhile
          ParkAttempted, \* BOOLEAN: a set waits whose token's attempt may still run or waits in the rescue stream
          ClaimExpires   \* BOOLEAN: TRUE models the common mistake, an expired claim may be taken

Fams == 1..MaxLog
Tok(f, g) == [f |-> f, g |-> g]

VARIABLES log, pending, gen, dead, posted, misuse, rec, wk, wire, rescue, crashes, lost, atts,
          doubted  \* tokens that were rotated away, or of which nobody knows whether they were
Symmetry == Permutations(Workers)
vars == <<log, pending, gen, dead, posted, misuse, rec, wk, wire, rescue, crashes, lost, atts, doubted>>

Idle == [pc |-> "idle", tok |-> Nil, stamp |-> 0, att |-> 0, new |-> Nil, rep |-> 0, ids |-> {}, ver |-> 0]

Init ==
  /\ log = <<>> /\ pending = {} /\ gen = [f \in Fams |-> 0] /\ dead = [f \in Fams |-> FALSE]
  /\ posted = {} /\ misuse = FALSE
  /\ rec = [st |-> "none", tok |-> Nil, stamp |-> 0, ids |-> {}, spent |-> {}, claim |-> Nil, revoke |-> {}, ver |-> 0, own |-> {}]
  /\ wk = [w \in Workers |-> Idle] /\ wire = {} /\ rescue = {} /\ crashes = 0 /\ lost = {} /\ atts = 0 /\ doubted = {}

----------------------------------------------------------------------------
(* Upstream *)
Acqs == {i \in 1..Len(log) : log[i].kind = "acq"}
NextFam == Cardinality({log[i].fam : i \in Acqs}) + 1

Publish(e) == /\ Len(log) < MaxLog
              /\ log' = Append(log, e) /\ pending' = pending \cup {Len(log) + 1}
              /\ UNCHANGED <<gen, dead, posted, misuse, rec, wk, wire, rescue, crashes, lost, atts, doubted>>

NextId == Cardinality({log[i].id : i \in 1..Len(log)}) + 1

Acquire    == Publish([kind |-> "acq", id |-> NextId, fam |-> NextFam, g |-> 0, login |-> TRUE])
Disconnect == Publish([kind |-> "disc", id |-> NextId, fam |-> 0, g |-> 0, login |-> TRUE])
Repeat     == \E i \in 1..Len(log) : Publish(log[i])   \* an outbox publishes the same event id again

Resync     == \E i \in Acqs : Publish([log[i] EXCEPT !.id = NextId, !.login = FALSE])  \* an old token under a new id

(* the user logs in again, and the provider hands out the refresh token that is current *)
Relogin    == \E f \in {log[i].fam : i \in Acqs} : ~dead[f] /\ Publish([kind |-> "acq", id |-> NextId, fam |-> f, g |-> gen[f], login |-> TRUE])

IsRepeat(i) == \E j \in 1..(i-1) : log[j].id = log[i].id

----------------------------------------------------------------------------
(* Consumer: one conditional write, then an acknowledgement that may be lost *)
Effect(i) ==
  LET e == log[i]
      noted == [rec EXCEPT !.ids = @ \cup {e.id}]
  IN
  IF e.id \in rec.ids THEN rec
  ELSE IF KeepSpent /\ e.kind = "acq" /\ Tok(e.fam, e.g) \in rec.spent THEN noted
  ELSE IF i <= rec.stamp THEN
    IF RevokeLate /\ e.kind = "acq" /\ rec.st \in {"disconnecting", "disconnected"}
    THEN [noted EXCEPT !.st = "disconnecting", !.revoke = @ \cup {Tok(e.fam, e.g)}]
    ELSE IF RememberStale THEN noted ELSE rec
  ELSE IF e.kind = "acq" THEN
    [noted EXCEPT !.st = "active", !.tok = Tok(e.fam, e.g), !.stamp = i, !.claim = Nil, !.revoke = {}, !.ver = 0]
  ELSE
    [noted EXCEPT !.st = "disconnecting", !.tok = Nil, !.stamp = i, !.claim = Nil,
                 !.revoke = IF rec.tok = Nil THEN @ ELSE @ \cup {rec.tok}]

Busy(att) == \/ \E w \in Workers : wk[w].pc # "idle" /\ wk[w].att = att
             \/ \E m \in wire : m.att = att /\ ~m.done

(* An attempt at the set's token that may still end either way: its claim stands, a process holds it, or its answer waits. *)
Open(e) ==
  \/ rec.claim # Nil /\ rec.tok = Tok(e.fam, e.g)
  \/ \E o \in rec.own : o.tok = Tok(e.fam, e.g) /\ (Busy(o.att) \/ \E r \in rescue : r.att = o.att)

Apply(i) ==
  /\ i \in pending
  /\ (HoldBack /\ IsRepeat(i)) => \A j \in pending : j >= i
  /\ (ParkAttempted /\ log[i].kind = "acq" /\ log[i].id \notin rec.ids) => ~Open(log[i])
  /\ rec' = Effect(i)
  /\ pending' \in {pending, pending \ {i}}
  /\ UNCHANGED <<log, gen, dead, posted, misuse, wk, wire, rescue, crashes, lost, atts, doubted>>

----------------------------------------------------------------------------
(* Rotator *)
(* own: what each fingerprint bears, the latest attempt at its token and whether that is the sole one. *)
Claimed(w, rep) ==   \* rep: the attempt that a last resort replaces; 0: none
  /\ atts < MaxAtt /\ atts' = atts + 1
  /\ rec' = [rec EXCEPT !.claim = [att |-> atts + 1], !.spent = @ \cup {rec.tok},
                         !.own = {o \in @ : o.tok # rec.tok}
                                   \cup {[tok |-> rec.tok, att |-> atts + 1, sole |-> rec.tok \notin rec.spent]}]
  /\ wk' = [wk EXCEPT ![w] = [pc |-> "claimed", tok |-> rec.tok, stamp |-> rec.stamp, att |-> atts + 1, new |-> Nil,
                              rep |-> rep, ids |-> rec.ids, ver |-> rec.ver]]
  /\ UNCHANGED <<log, pending, gen, dead, posted, misuse, wire, rescue, crashes, lost, doubted>>

Claim(w) ==
  /\ wk[w].pc = "idle" /\ rec.st = "active" /\ rec.tok.g < MaxGen
  /\ IF ClaimExpires THEN TRUE ELSE rec.claim = Nil
  /\ Claimed(w, 0)

(* The outcome of an attempt stayed unknown: post again when the access token has expired. By then (hours) no *)
(* process still holds the attempt and no request is on the way: Busy encodes that.                           *)
LastResort(w) ==
  /\ wk[w].pc = "idle" /\ rec.st = "active" /\ rec.claim # Nil /\ ~Busy(rec.claim.att)
  /\ LookInRescue => ~\E r \in rescue : r.tok = rec.tok
  /\ Claimed(w, rec.claim.att)

Send(w) ==
  /\ wk[w].pc = "claimed"
  /\ wire' = wire \cup {[w |-> w, att |-> wk[w].att, tok |-> wk[w].tok, done |-> FALSE, last |-> wk[w].rep # 0, busy |-> FALSE, new |-> Nil,
                             fresh |-> wk[w].tok \notin posted]}
  /\ misuse' = (misuse \/ (wk[w].tok \in posted /\ (wk[w].rep = 0 \/ \E r \in rescue : r.tok = wk[w].tok)))
  /\ posted' = posted \cup {wk[w].tok}
  /\ wk' = [wk EXCEPT ![w].pc = "sent"]
  /\ UNCHANGED <<log, pending, gen, dead, rec, rescue, crashes, lost, atts, doubted>>

Provider(m) ==
  /\ m \in wire /\ ~m.done
  /\ LET f == m.tok.f
         good == ~dead[f] /\ m.tok.g = gen[f]
     IN \/ /\ wire' = (wire \ {m}) \cup {[m EXCEPT !.done = TRUE, !.busy = TRUE]}
           \* a definite refusal (429): nothing was spent
           /\ UNCHANGED posted
           /\ UNCHANGED <<gen, dead>>
        \/ /\ good /\ UNCHANGED <<gen, dead, posted>>       \* the token is kept
           /\ wire' = (wire \ {m}) \cup {[m EXCEPT !.done = TRUE, !.new = m.tok]}
        \/ /\ UNCHANGED posted /\ gen' = IF good THEN [gen EXCEPT ![f] = @ + 1] ELSE gen
           /\ dead' = IF good THEN dead ELSE [dead EXCEPT ![f] = TRUE]
           /\ wire' = (wire \ {m}) \cup {[m EXCEPT !.done = TRUE, !.new = IF good THEN Tok(f, m.tok.g + 1) ELSE Nil]}
  /\ UNCHANGED <<log, pending, misuse, rec, wk, rescue, crashes, lost, atts, doubted>>

Answer(w) ==
  /\ wk[w].pc = "sent"
  /\ \E m \in wire : /\ m.w = w /\ m.att = wk[w].att /\ m.done
                     /\ wire' = wire \ {m}
                     /\ posted' = IF m.new = m.tok \/ (m.new = Nil /\ m.fresh) THEN posted \ {m.tok} ELSE posted
                     /\ doubted' = IF m.new = m.tok THEN doubted \ {m.tok} ELSE IF m.new # Nil \/ ~m.fresh THEN doubted \cup {m.tok} ELSE doubted
                     /\ wk' = [wk EXCEPT ![w].new = m.new,
                               ![w].pc = IF m.busy THEN "busy" ELSE IF m.new = Nil THEN "refused" ELSE "answer"]
  /\ UNCHANGED <<log, pending, gen, dead, misuse, rec, rescue, crashes, lost, atts>>

NoAnswer(w) ==        \* the reply is lost or too late: the outcome stays unknown, the claim stays
  /\ wk[w].pc = "sent" /\ ~\E m \in wire : m.w = w /\ m.att = wk[w].att /\ ~m.done
  /\ lost' = lost \cup {wk[w].tok.f} /\ doubted' = doubted \cup {wk[w].tok}
  /\ wire' = {m \in wire : ~(m.w = w /\ m.att = wk[w].att)}
  /\ wk' = [wk EXCEPT ![w] = Idle]
  /\ UNCHANGED <<log, pending, gen, dead, posted, misuse, rec, rescue, crashes, atts>>

Holds(att) == rec.claim # Nil /\ rec.claim.att = att

(* The record after the end of an attempt that left its token: its answer kept it, or it was refused, or never posted. *)
TakesBack(a, kept) ==
  /\ TakeBack
  /\ \/ ~LatestOnly /\ kept
     \/ /\ AfterClaim \/ Holds(a.att)
        /\ \E o \in rec.own : o.tok = a.tok /\ o.att = a.att /\ (kept \/ o.sole \/ ~SoleOnly)
Left(a, kept) ==
  IF TakesBack(a, kept)
  THEN [rec EXCEPT !.spent = @ \ {a.tok}, !.own = {o \in @ : o.tok # a.tok}] ELSE rec

Release(w) ==         \* nothing was spent: give the claim back
  /\ wk[w].pc \in {"busy", "claimed"} \/ (~ReleaseOnlyRefused /\ wk[w].pc = "sent")
  /\ LET a == wk[w]
         r == Left(a, FALSE)
     IN rec' = IF ~Holds(a.att) THEN r
               ELSE IF a.rep = 0 THEN [r EXCEPT !.claim = Nil]
               ELSE IF a.pc = "busy" THEN r               \* a refused last resort leaves the first attempt as unresolved
               ELSE [r EXCEPT !.claim = [att |-> a.rep],  \* as before, and so does one that was not posted
                              !.own = {IF o.att = a.att THEN [o EXCEPT !.att = a.rep] ELSE o : o \in @}]
  /\ wk' = [wk EXCEPT ![w] = Idle]
  /\ UNCHANGED <<log, pending, gen, dead, posted, misuse, wire, rescue, crashes, lost, atts, doubted>>

(* The fence is the token set itself: stamp and generation. *)
Save(a) ==
  LET r == IF a.new = a.tok THEN Left(a, TRUE) ELSE rec
  IN
  IF rec.st \in {"active", "reauth"} /\ rec.stamp = a.stamp /\ rec.ver = a.ver
  THEN [r EXCEPT !.st = "active", !.tok = a.new, !.claim = Nil, !.ver = @ + 1, !.ids = IF NamedAttrs THEN @ ELSE a.ids]
  ELSE IF rec.st \in {"disconnecting", "disconnected"}
       THEN [r EXCEPT !.st = "disconnecting", !.revoke = @ \cup {a.new}]
  ELSE r                                          \* a newer grant, or already saved: drop

Commit(w) ==
  /\ wk[w].pc = "answer" /\ rec' = Save(wk[w]) /\ wk' = [wk EXCEPT ![w] = Idle]
  /\ UNCHANGED <<log, pending, gen, dead, posted, misuse, wire, rescue, crashes, lost, atts, doubted>>

Rescue(w) ==          \* the store is down: the sealed answer goes to the rescue stream
  /\ wk[w].pc = "answer"
  /\ rescue' = rescue \cup {[tok |-> wk[w].tok, stamp |-> wk[w].stamp, new |-> wk[w].new, ids |-> wk[w].ids, att |-> wk[w].att, ver |-> wk[w].ver]}
  /\ wk' = [wk EXCEPT ![w] = Idle]
  /\ UNCHANGED <<log, pending, gen, dead, posted, misuse, rec, wire, crashes, lost, atts, doubted>>

RescueCommit(r) ==
  /\ r \in rescue /\ rec' = Save(r) /\ rescue' \in {rescue, rescue \ {r}}
  /\ rec' # rec \/ rescue' # rescue
  /\ UNCHANGED <<log, pending, gen, dead, posted, misuse, wk, wire, crashes, lost, atts, doubted>>

Refused(w) ==         \* invalid_grant counts only while the attempt holds the claim
  /\ wk[w].pc = "refused"
  /\ LET r == Left(wk[w], FALSE)
     IN rec' = IF rec.st = "active" /\ Holds(wk[w].att) THEN [r EXCEPT !.st = "reauth", !.claim = Nil] ELSE r
  /\ wk' = [wk EXCEPT ![w] = Idle]
  /\ UNCHANGED <<log, pending, gen, dead, posted, misuse, wire, rescue, crashes, lost, atts, doubted>>

Revoke ==
  /\ rec.st = "disconnecting"
  /\ IF rec.revoke = {} THEN rec' = [rec EXCEPT !.st = "disconnected"] /\ UNCHANGED dead
     ELSE \E t \in rec.revoke : /\ dead' = [dead EXCEPT ![t.f] = TRUE]
                                /\ rec' = [rec EXCEPT !.revoke = @ \ {t}]
  /\ UNCHANGED <<log, pending, gen, posted, misuse, wk, wire, rescue, crashes, lost, atts, doubted>>

Crash(w) ==
  /\ crashes < MaxCrash /\ wk[w].pc # "idle" /\ crashes' = crashes + 1
  /\ lost' = IF wk[w].pc \in {"sent", "answer"} THEN lost \cup {wk[w].tok.f} ELSE lost
  /\ doubted' = doubted \cup {wk[w].tok}
  /\ wk' = [wk EXCEPT ![w] = Idle]
  /\ UNCHANGED <<log, pending, gen, dead, posted, misuse, rec, wire, rescue, atts>>

Next == \/ Acquire \/ Disconnect \/ Repeat \/ Resync \/ Relogin \/ Revoke
        \/ \E i \in 1..MaxLog : Apply(i)
        \/ \E w \in Workers : Claim(w) \/ LastResort(w) \/ Send(w) \/ Answer(w) \/ NoAnswer(w) \/ Commit(w)
                              \/ Rescue(w) \/ Refused(w) \/ Release(w) \/ Crash(w)
        \/ \E m \in wire : Provider(m)
        \/ \E r \in rescue : RescueCommit(r)
Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
(* What in-order, exactly-once delivery of the published events gives *)
First(i) == ~IsRepeat(i)
Firsts == {i \in 1..Len(log) : First(i)}
LastFirst == CHOOSE i \in Firsts : \A j \in Firsts : j <= i
Quiet == pending = {} /\ wire = {} /\ rescue = {} /\ \A w \in Workers : wk[w].pc = "idle"

OneUse  == ~misuse                                                                   \* P4
Gone    == rec.st \in {"disconnecting", "disconnected"} => rec.tok = Nil             \* P3
Resynced == \E i, j \in Firsts : i # j /\ log[i].kind = "acq" /\ log[i].fam = log[j].fam
InOrder == (Quiet /\ Len(log) > 0 /\ ~Resynced) =>                                                \* P2, P3
             IF log[LastFirst].kind = "disc" THEN rec.st \in {"disconnecting", "disconnected"}
             ELSE /\ rec.st \in {"active", "reauth"}
                  /\ rec.st = "active" => rec.tok.f = log[LastFirst].fam
(* P5: the current refresh token of the live grant is somewhere, unless the process died or the network *)
(* swallowed the answer (lost), which the policy for unknown outcomes covers.                           *)
Held(f) == LET t == Tok(f, gen[f]) IN
             \/ rec.tok = t
             \/ \E w \in Workers : wk[w].new = t
             \/ \E m \in wire : m.new = t
             \/ \E r \in rescue : r.new = t
NoLostRotation == (rec.st = "active" /\ rec.tok # Nil /\ ~dead[rec.tok.f]) =>
                     (Held(rec.tok.f) \/ rec.tok.f \in lost)
(* A healthy grant is never declared dead. *)
NoFalseReauth == (rec.st = "reauth" /\ \E i \in Acqs : i = rec.stamp) => 
                     (dead[log[rec.stamp].fam] \/ log[rec.stamp].fam \in lost)
(* After a disconnect nothing of the grants before it lives on at the provider. *)
Since == {i \in Firsts : log[i].kind = "acq" /\ i < rec.stamp}
DiscBefore(i) == \E j \in Firsts : /\ j > i /\ log[j].kind = "disc"
                                  /\ ~\E k \in Firsts : k > i /\ k < j /\ log[k].kind = "acq"
AllRevoked == (Quiet /\ rec.st = "disconnected") =>
                \A i \in Firsts : (log[i].kind = "acq" /\ DiscBefore(i) /\
                   ~\E k \in Firsts : k > i /\ log[k].kind = "acq") => dead[log[i].fam]
(* A re-login whose token nobody rotated, and of which every attempt had a definite outcome, takes effect. *)
LL == log[LastFirst]
ReloginApplied == (Quiet /\ Len(log) > 0 /\ LL.kind = "acq" /\ LL.login /\ gen[LL.fam] = LL.g /\ ~dead[LL.fam]
                   /\ Tok(LL.fam, LL.g) \notin doubted) => rec.stamp = LastFirst
(* what the provider sees: a rotated token is posted by a last resort only *)
NoReuse == \A m \in wire : (~m.done /\ m.tok.g < gen[m.tok.f] /\ ~dead[m.tok.f]) => m.last
=============================================================================
