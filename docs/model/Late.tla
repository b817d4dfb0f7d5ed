-------------------------------- MODULE Late --------------------------------
(* Writes whose reply is lost: a claim, or its release, may land later, or twice. One connection, one token set, two  *)
(* processes; of what the provider answers only whether it left the token, spent it, or nobody knows.                *)
EXTENDS Naturals, FiniteSets

CONSTANTS Workers,   \* e.g. {w1, w2}
          MaxAtt,    \* attempts to refresh
          MaxCrash,  \* process crashes
          MaxDup,    \* writes that land twice
          Cond,      \* what a write is conditional on: "rev": the revision of the record that was decided on; "rule": that
                     \* the claim is as it was then
          Settle,    \* a claim without a reply: "none": is left; "once": is looked for once, and released if found; "found":
                     \* is looked for until it is gone; "moved": is looked for until the record is at another revision
                     \* than the claim's write was made on, and at that one the record is written, which moves it
          OwnId,     \* BOOLEAN: once its release began, an attempt's id is never claimed or posted with again
          Restore    \* BOOLEAN: the release of a last resort restores the claim before it; FALSE: clears it

VARIABLES rec,    \* [claim, prev, rev]; claim 0: none
          wk, fly, posted, unknown, double, blockedOk, atts, crashes, dups, orphan
vars == <<rec, wk, fly, posted, unknown, double, blockedOk, atts, crashes, dups, orphan>>
Idle == [pc |-> "idle", att |-> 0, rep |-> 0, rev |-> 0, sent |-> FALSE]
(* posted: attempts that were posted. unknown: attempts posted whose outcome nobody will know. orphan: attempts of dead processes *)
Init == /\ rec = [claim |-> 0, prev |-> 0, rev |-> 0] /\ wk = [w \in Workers |-> Idle] /\ fly = {}
        /\ posted = {} /\ unknown = {} /\ double = FALSE /\ blockedOk = {} /\ atts = 0 /\ crashes = 0 /\ dups = 0 /\ orphan = {}
Busy(a) == \E w \in Workers : wk[w].pc # "idle" /\ wk[w].att = a
(* a decision on the record as it is; the write flies *)
Begin(w) == /\ wk[w].pc = "idle" /\ atts < MaxAtt
            /\ rec.claim = 0 \/ ~Busy(rec.claim)           \* a first attempt, or a last resort
            /\ atts' = atts + 1
            /\ wk' = [wk EXCEPT ![w] = [pc |-> "claiming", att |-> atts + 1, rep |-> rec.claim, rev |-> rec.rev, sent |-> FALSE]]
            /\ fly' = fly \cup {[k |-> "claim", att |-> atts + 1, rep |-> rec.claim, rev |-> rec.rev]}
            /\ UNCHANGED <<rec, posted, unknown, double, blockedOk, crashes, dups, orphan>>
Ok(m) == /\ Cond = "rev" => m.rev = rec.rev
         /\ IF m.k = "claim" THEN rec.claim = m.rep ELSE IF m.k = "touch" THEN m.rev = rec.rev ELSE rec.claim = m.att
Effect(m) == IF m.k = "claim" THEN [claim |-> m.att, prev |-> m.rep, rev |-> rec.rev + 1]
             ELSE IF m.k = "touch" THEN [rec EXCEPT !.rev = @ + 1]
             ELSE [claim |-> IF Restore THEN m.rep ELSE 0, prev |-> 0, rev |-> rec.rev + 1]
(* a write lands (or fails its condition); it may be a duplicate that stays in the air *)
Land(m) == /\ m \in fly
           /\ rec' = IF Ok(m) THEN Effect(m) ELSE rec
           /\ \/ fly' = fly \ {m} /\ UNCHANGED dups
              \/ dups < MaxDup /\ dups' = dups + 1 /\ UNCHANGED fly
           /\ UNCHANGED <<wk, posted, unknown, double, blockedOk, atts, crashes, orphan>>
(* the reply that it landed arrives *)
Reply(w) == /\ wk[w].pc = "claiming" /\ rec.claim = wk[w].att
            /\ wk' = [wk EXCEPT ![w].pc = "held"]
            /\ UNCHANGED <<rec, fly, posted, unknown, double, blockedOk, atts, crashes, dups, orphan>>
(* known not to have landed: another holds it *)
Fenced(w) == /\ wk[w].pc = "claiming" /\ rec.claim \notin {wk[w].att, wk[w].rep} /\ wk' = [wk EXCEPT ![w] = Idle]
             /\ UNCHANGED <<rec, fly, posted, unknown, double, blockedOk, atts, crashes, dups, orphan>>
(* no reply: nothing will be posted with it *)
Timeout(w) == /\ wk[w].pc = "claiming" /\ wk' = [wk EXCEPT ![w].pc = IF Settle = "none" THEN "idle" ELSE "releasing"]
              /\ UNCHANGED <<rec, fly, posted, unknown, double, blockedOk, atts, crashes, dups, orphan>>
Retry(w) == /\ ~OwnId /\ wk[w].pc = "releasing" /\ wk[w].sent /\ rec.claim \in {wk[w].att, wk[w].rep}
            /\ wk' = [wk EXCEPT ![w].pc = "claiming", ![w].rev = rec.rev]
            /\ fly' = IF rec.claim = wk[w].att THEN fly ELSE fly \cup {[k |-> "claim", att |-> wk[w].att, rep |-> wk[w].rep, rev |-> rec.rev]}
            /\ UNCHANGED <<rec, posted, unknown, double, blockedOk, atts, crashes, dups, orphan>>
(* the release: look, write if the claim is there *)
Look(w) ==
  /\ wk[w].pc = "releasing"
  /\ IF rec.claim = wk[w].att
     THEN /\ fly' = fly \cup {[k |-> "release", att |-> wk[w].att, rep |-> wk[w].rep, rev |-> rec.rev]}
          /\ wk' = [wk EXCEPT ![w].sent = TRUE]
     ELSE IF Settle = "moved" /\ rec.rev = wk[w].rev
     THEN /\ fly' = fly \cup {[k |-> "touch", att |-> wk[w].att, rep |-> wk[w].rep, rev |-> rec.rev]}
          /\ UNCHANGED wk
     ELSE /\ wk' = [wk EXCEPT ![w] = Idle] /\ UNCHANGED fly     \* read back without it
  /\ UNCHANGED <<rec, posted, unknown, double, blockedOk, atts, crashes, dups, orphan>>
GiveUp(w) == /\ Settle = "once" /\ wk[w].pc = "releasing" /\ wk[w].sent /\ wk' = [wk EXCEPT ![w] = Idle]
             /\ UNCHANGED <<rec, fly, posted, unknown, double, blockedOk, atts, crashes, dups, orphan>>
Live(a) == a \in posted
(* a post is a double one when an earlier attempt may have spent the token, unless this is the last resort that replaced it *)
Post(w) == /\ wk[w].pc = "held" /\ wk' = [wk EXCEPT ![w].pc = "sent"]
           /\ double' = (double \/ (posted # {} /\ wk[w].rep = 0) \/ (\E v \in Workers : v # w /\ wk[v].pc = "sent"))
           /\ posted' = posted \cup {wk[w].att}
           /\ UNCHANGED <<rec, fly, unknown, blockedOk, atts, crashes, dups, orphan>>
(* a definite answer that leaves the token: release by the attempt; last resort: the earlier stays *)
Free(w) == /\ wk[w].pc = "sent"
           /\ posted' = posted \ {wk[w].att} /\ wk' = [wk EXCEPT ![w] = Idle]
           /\ rec' = IF rec.claim = wk[w].att THEN [claim |-> wk[w].rep, prev |-> 0, rev |-> rec.rev + 1] ELSE rec
           /\ UNCHANGED <<fly, unknown, double, blockedOk, atts, crashes, dups, orphan>>
Unknown(w) == /\ wk[w].pc = "sent" /\ unknown' = unknown \cup {wk[w].att} /\ wk' = [wk EXCEPT ![w] = Idle]
              /\ UNCHANGED <<rec, fly, posted, double, blockedOk, atts, crashes, dups, orphan>>
Crash(w) == /\ crashes < MaxCrash /\ wk[w].pc # "idle" /\ crashes' = crashes + 1 /\ orphan' = orphan \cup {wk[w].att}
            /\ unknown' = IF wk[w].pc = "sent" THEN unknown \cup {wk[w].att} ELSE unknown
            /\ wk' = [wk EXCEPT ![w] = Idle]
            /\ UNCHANGED <<rec, fly, posted, double, blockedOk, atts, dups>>
Next == (\E w \in Workers : Begin(w) \/ Reply(w) \/ Fenced(w) \/ Timeout(w) \/ Retry(w) \/ Look(w) \/ GiveUp(w) \/ Post(w) \/ Free(w)
                          \/ Unknown(w) \/ Crash(w)) \/ \E m \in fly : Land(m)
Spec == Init /\ [][Next]_vars
OneUse == ~double
(* a claim that nobody posted with and whose process lives does not stay when nothing is under way *)
NotBlocked == (fly = {} /\ \A w \in Workers : wk[w].pc = "idle") =>
                (rec.claim # 0 => rec.claim \in posted \cup unknown \cup orphan)
=============================================================================
