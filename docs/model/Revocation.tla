------------------------------ MODULE Revocation ------------------------------
(* What is left to revoke after disconnects, seen by a fleet of workers: claims that are taken over when they have   *)
(* expired, sets that join the list meanwhile, and new acquisitions while a revocation is under way. One connection; *)
(* the sets come from outside (in Connection.tla a disconnect, a late acquisition or a refresh in flight lists them).*)
EXTENDS Naturals, FiniteSets, TLC

CONSTANTS Workers,   \* e.g. {w1, w2}
          MaxGrant,  \* grants that users give
          MaxTry,    \* attempts to revoke
          MaxCrash,  \* worker crashes
          Reaches,   \* what a revocation ends: the "token" (or its family), or the whole "grant" of user and client,
                     \* which includes what the user has granted since
          Nil,
          TakeOver,     \* BOOLEAN: an expired claim may be taken over
          DueAgain,     \* BOOLEAN: what is left at an attempt's end, not at its start, says if the record is due again
          RemoveDone,   \* BOOLEAN: an attempt's end removes the sets that it revoked; FALSE models removing them all
          KeepNarrow,   \* BOOLEAN: a new acquisition keeps the list where revoking reaches no further than the token
          DropWide,     \* BOOLEAN: ... and drops it where it reaches the grant
          CheckReturn,  \* "always": such a grant, stored after a disconnect, is checked by a refresh; "busy": only if a
                        \* claim to revoke stands by then; "never"
          CheckAfterEnd \* BOOLEAN: the check waits until no request of a revocation can still arrive

Grants == 1..MaxGrant

VARIABLES reach, given, pending, dead, rec, wk, wire, listed, dropped, killed, tries, crashes
vars == <<reach, given, pending, dead, rec, wk, wire, listed, dropped, killed, tries, crashes>>
Symmetry == Permutations(Workers)

Idle == [pc |-> "idle", try |-> 0, sets |-> {}]

(* given: grants 1..given exist at the provider; pending: those whose events the worker has not seen yet. *)
Init ==
  /\ reach \in Reaches /\ given = 0 /\ pending = {} /\ dead = {}
  /\ rec = [st |-> "none", grant |-> Nil, disc |-> FALSE, list |-> {}, due |-> FALSE, claim |-> Nil,
            check |-> FALSE]
  /\ wk = [w \in Workers |-> Idle] /\ wire = {} /\ listed = {} /\ dropped = {} /\ killed = FALSE
  /\ tries = 0 /\ crashes = 0

----------------------------------------------------------------------------
Consent ==            \* a user grants access; the event comes later
  /\ given < MaxGrant /\ given' = given + 1 /\ pending' = pending \cup {given + 1}
  /\ UNCHANGED <<reach, dead, rec, wk, wire, listed, dropped, killed, tries, crashes>>

Live == rec.st \in {"active", "reauth"}

Acquire(g) ==         \* the newest event; what to do with older ones is Connection.tla's
  /\ g \in pending /\ \A h \in pending : h <= g
  /\ pending' = pending \ {g}
  /\ LET keep == IF reach = "token" THEN KeepNarrow ELSE ~DropWide
         check == \/ reach = "grant" /\ CheckReturn = "always" /\ rec.disc
                  \/ reach = "grant" /\ CheckReturn = "busy" /\ rec.claim # Nil
     IN /\ rec' = [rec EXCEPT !.st = "active", !.grant = g, !.list = IF keep THEN @ ELSE {}, !.check = check]
        /\ dropped' = IF reach = "grant" /\ ~keep THEN dropped \cup rec.list ELSE dropped
  /\ UNCHANGED <<reach, given, dead, wk, wire, listed, killed, tries, crashes>>

List(g) ==            \* a set of an older grant is listed: a late acquisition, or minted by a refresh in flight
  /\ rec.disc /\ g \in pending /\ (Live => (g < rec.grant /\ reach = "token"))
  /\ pending' = pending \ {g} /\ listed' = listed \cup {g}
  /\ rec' = [rec EXCEPT !.list = @ \cup {g}, !.due = TRUE, !.st = IF Live THEN @ ELSE "disconnecting"]
  /\ UNCHANGED <<reach, given, dead, wk, wire, dropped, killed, tries, crashes>>

Disconnect ==
  /\ rec.st # "disconnecting"
  /\ LET held == IF Live THEN {rec.grant} ELSE {}
     IN /\ listed' = listed \cup held
        /\ rec' = [rec EXCEPT !.st = "disconnecting", !.disc = TRUE, !.list = @ \cup held, !.due = TRUE, !.grant = Nil,
                              !.check = FALSE]
  /\ UNCHANGED <<reach, given, pending, dead, wk, wire, dropped, killed, tries, crashes>>

----------------------------------------------------------------------------
(* Rotator. Expiry is not modelled: with TakeOver a claim may be taken at any time, its owner dead, paused or slow. *)
MayClaim == rec.due /\ (rec.list # {} \/ rec.st = "disconnecting") /\ (rec.claim = Nil \/ TakeOver)

Claim(w) ==
  /\ wk[w].pc = "idle" /\ MayClaim /\ tries < MaxTry /\ tries' = tries + 1
  /\ rec' = [rec EXCEPT !.claim = tries + 1]
  /\ wk' = [wk EXCEPT ![w] = [pc |-> IF rec.list = {} THEN "done" ELSE "claimed", try |-> tries + 1, sets |-> rec.list]]
  /\ killed' = (killed \/ (Live /\ reach = "grant"))
  /\ UNCHANGED <<reach, given, pending, dead, wire, listed, dropped, crashes>>

Send(w) ==
  /\ wk[w].pc = "claimed" /\ wk' = [wk EXCEPT ![w].pc = "sent"]
  /\ wire' = wire \cup {[try |-> wk[w].try, sets |-> wk[w].sets]}
  /\ UNCHANGED <<reach, given, pending, dead, rec, listed, dropped, killed, tries, crashes>>

(* The provider revokes, or is down; the answer reaches whoever waits for it, or nobody. *)
Provider(m) ==
  /\ m \in wire /\ wire' = wire \ {m}
  /\ \E ok \in BOOLEAN :
       /\ dead' = IF ~ok THEN dead ELSE IF reach = "grant" THEN 1..given ELSE dead \cup m.sets
       /\ \E heard \in BOOLEAN :
            wk' = [w \in Workers |-> IF wk[w].pc # "sent" \/ wk[w].try # m.try THEN wk[w]
                                     ELSE IF ok /\ heard THEN [wk[w] EXCEPT !.pc = "done"] ELSE Idle]
  /\ UNCHANGED <<reach, given, pending, rec, listed, dropped, killed, tries, crashes>>

Finish(w) ==
  /\ wk[w].pc = "done" /\ wk' = [wk EXCEPT ![w] = Idle]
  /\ LET rest == IF RemoveDone THEN rec.list \ wk[w].sets ELSE {}
     IN rec' = [rec EXCEPT !.list = rest, !.due = IF DueAgain THEN rest # {} ELSE wk[w].sets # {},
                           !.claim = IF @ = wk[w].try THEN Nil ELSE @,
                           !.st = IF @ = "disconnecting" /\ rest = {} THEN "disconnected" ELSE @]
  /\ UNCHANGED <<reach, given, pending, dead, wire, listed, dropped, killed, tries, crashes>>

Crash(w) ==
  /\ crashes < MaxCrash /\ wk[w].pc # "idle" /\ crashes' = crashes + 1 /\ wk' = [wk EXCEPT ![w] = Idle]
  /\ UNCHANGED <<reach, given, pending, dead, rec, wire, listed, dropped, killed, tries>>

OnTheWay == wire # {} \/ \E w \in Workers : wk[w].pc \in {"claimed", "sent"}

Check ==              \* a refresh: the grant works, or is known to be dead
  /\ rec.st = "active" /\ rec.check /\ (CheckAfterEnd => ~OnTheWay)
  /\ rec' = [rec EXCEPT !.check = FALSE, !.st = IF rec.grant \in dead THEN "reauth" ELSE @]
  /\ UNCHANGED <<reach, given, pending, dead, wk, wire, listed, dropped, killed, tries, crashes>>

Next == \/ Consent \/ Disconnect \/ Check
        \/ \E g \in Grants : Acquire(g) \/ List(g)
        \/ \E w \in Workers : Claim(w) \/ Send(w) \/ Finish(w) \/ Crash(w)
        \/ \E m \in wire : Provider(m)
Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
AllIdle == wire = {} /\ \A w \in Workers : wk[w].pc = "idle"

(* What was listed is revoked, or still listed, or was spared for a newer grant that its revocation would have ended. *)
NothingLeft == \A g \in listed : g \in dead \cup rec.list \cup dropped
(* What waits for revocation can be claimed by somebody once nobody works at it. *)
NotStuck == (AllIdle /\ (rec.st = "disconnecting" \/ rec.list # {})) => MayClaim
(* A tombstone has nothing left to revoke. *)
Tombstone == rec.st = "disconnected" => rec.list = {}
(* No revocation that would end a stored grant is begun; one that ends it all the same does not go unnoticed. *)
Spared    == ~killed
KnownDead == (AllIdle /\ rec.st = "active" /\ ~rec.check) => rec.grant \notin dead
=============================================================================
