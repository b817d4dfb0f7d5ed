------------------------------- MODULE Prints -------------------------------
(* Fingerprints of spent refresh tokens in two bounded lists: of tokens that an event brought, which an upstream may *)
(* publish again at any time, and of tokens that refreshes brought, which mostly nobody but the worker ever saw.    *)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS CapA,    \* acquired tokens remembered
          CapR,    \* others remembered
          MaxFam,  \* grants
          MaxGen,  \* rotations of one
          MaxPub,  \* tokens that an upstream comes to hold
          MaxAtt,  \* attempts to refresh
          MaxEv,   \* events delivered
          Prompt,  \* BOOLEAN: an event is first delivered before its token is forgotten among those of refreshes
          Apart,   \* BOOLEAN: acquired tokens have a list of their own
          By,      \* a token is acquired: "token": when an event brought it, however often an answer kept it; "gen": as
                   \* long as its set was not refreshed
          Move     \* BOOLEAN: an event with a token of the others moves it to the acquired ones

VARIABLES gen, dead, rec, acq, ref, pub, misuse, atts, evs, dlv
vars == <<gen, dead, rec, acq, ref, pub, misuse, atts, evs, dlv>>
Fams == 1..MaxFam
Tok(f, g) == [f |-> f, g |-> g]
None == Tok(0, 0)
In(s, x) == \E i \in 1..Len(s) : s[i] = x
Add(s, x, cap) == IF In(s, x) THEN s ELSE LET t == Append(s, x) IN IF Len(t) > cap THEN Tail(t) ELSE t
Del(s, x) == SelectSeq(s, LAMBDA y : y # x)
Init == /\ gen = [f \in Fams |-> 0] /\ dead = [f \in Fams |-> FALSE] /\ pub = {} /\ acq = <<>> /\ ref = <<>>
        /\ rec = [st |-> "none", tok |-> None, ver |-> 0, a |-> FALSE, claim |-> "no"] /\ misuse = FALSE /\ atts = 0 /\ evs = 0 /\ dlv = {}
Spent(x) == In(acq, x) \/ In(ref, x)
(* an event: parked while its token is merely claimed (here: not enabled) *)
Event(x) ==
  /\ evs < MaxEv /\ evs' = evs + 1
  /\ UNCHANGED pub /\ dlv' = dlv \cup {x}
  /\ ~(rec.claim # "no" /\ rec.tok = x)
  /\ IF Spent(x)
     THEN /\ UNCHANGED rec
          /\ IF Apart /\ Move /\ In(ref, x) THEN ref' = Del(ref, x) /\ acq' = Add(acq, x, CapA) ELSE UNCHANGED <<acq, ref>>
     ELSE /\ rec' = [st |-> "active", tok |-> x, ver |-> 0, a |-> TRUE, claim |-> "no"] /\ UNCHANGED <<acq, ref>>
  /\ UNCHANGED <<gen, dead, misuse, atts>>
Pub(x) == /\ x \notin pub /\ Cardinality(pub) < MaxPub /\ pub' = pub \cup {x} /\ UNCHANGED <<gen, dead, rec, acq, ref, misuse, atts, evs, dlv>>
Login == \E f \in Fams : (\A x \in pub : x.f # f) /\ (\A e \in Fams : e < f => \E x \in pub : x.f = e) /\ Pub(Tok(f, 0))
Relogin == \E f \in Fams : (\E x \in pub : x.f = f) /\ ~dead[f] /\ Pub(Tok(f, gen[f]))
Resync == \E x \in pub : Event(x)    \* delivered whenever, as often as one likes
(* claim and post *)
Acquired == IF By = "token" THEN rec.a ELSE rec.ver = 0
Post ==
  /\ (~Prompt \/ \A x \in pub \ dlv : ~In(ref, x))
  /\ rec.st = "active" /\ rec.claim # "sent" /\ atts < MaxAtt /\ atts' = atts + 1
  /\ LET last == rec.claim = "unknown"  x == rec.tok  good == ~dead[x.f] /\ x.g = gen[x.f] IN
     /\ misuse' = (misuse \/ (~last /\ x.g < gen[x.f]))
     /\ LET a2 == IF ~Apart THEN acq ELSE IF Acquired /\ ~Spent(x) THEN Add(acq, x, CapA) ELSE acq
            r2 == IF Apart /\ Acquired THEN ref ELSE IF Spent(x) THEN ref ELSE Add(ref, x, CapR)
            sole == ~Spent(x)
        IN \/ \* rotated, saved
              /\ good /\ x.g < MaxGen /\ gen' = [gen EXCEPT ![x.f] = @ + 1] /\ UNCHANGED dead
              /\ rec' = [rec EXCEPT !.tok = Tok(x.f, x.g + 1), !.ver = 1, !.a = FALSE, !.claim = "no"]
              /\ acq' = a2 /\ ref' = r2
           \/ \* rotated, lost
              /\ good /\ x.g < MaxGen /\ gen' = [gen EXCEPT ![x.f] = @ + 1] /\ UNCHANGED dead
              /\ rec' = [rec EXCEPT !.claim = "unknown"] /\ acq' = a2 /\ ref' = r2
           \/ \* kept, saved
              /\ good /\ UNCHANGED <<gen, dead>> /\ rec' = [rec EXCEPT !.ver = 1, !.claim = "no"]
              /\ acq' = Del(a2, x) /\ ref' = Del(r2, x)
           \/ \* kept or refused, lost
              /\ good /\ UNCHANGED <<gen, dead>> /\ rec' = [rec EXCEPT !.claim = "unknown"] /\ acq' = a2 /\ ref' = r2
           \/ \* refused (429) or never posted
              /\ UNCHANGED <<gen, dead>> /\ rec' = [rec EXCEPT !.claim = IF last THEN "unknown" ELSE "no"]
              /\ acq' = (IF sole THEN Del(a2, x) ELSE a2) /\ ref' = (IF sole THEN Del(r2, x) ELSE r2)
           \/ \* invalid_grant
              /\ ~good /\ dead' = [dead EXCEPT ![x.f] = TRUE] /\ UNCHANGED gen /\ rec' = [rec EXCEPT !.st = "reauth", !.claim = "no"]
              /\ acq' = (IF sole THEN Del(a2, x) ELSE a2) /\ ref' = (IF sole THEN Del(r2, x) ELSE r2)
  /\ UNCHANGED <<pub, evs, dlv>>
Next == Login \/ Relogin \/ Resync \/ Post
Spec == Init /\ [][Next]_vars
OneUse == ~misuse
=============================================================================
