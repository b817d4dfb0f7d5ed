-------------------------------- MODULE Clock --------------------------------
(* A claim by one worker, and the last resort or repeat of another, each by its own clock. Time is in ticks; a clock *)
(* is ahead of the store's by a constant. What the models beside this one call "no request of the attempt before can *)
(* still arrive" is here what a worker can tell of it: it reads its clock, and knows how far that is off.            *)
EXTENDS Integers

CONSTANTS Length,    \* of a claim
          Margin,    \* waited after its end
          Reach,     \* how long after a claim's end, by its owner's clock, a request may still act or its answer be unsaved
          Claimer,   \* a worker whose clock is off by more takes no claim
          Judge,     \* one whose clock is off by more makes no last resort and no repeat
          Off,       \* by how much clocks are off at worst
          Period,    \* how long after its first use a grace provider takes a token again
          MaxTick,
          Nil,
          ClaimNear,   \* BOOLEAN: workers take no claim when their clock is off by more than Claimer
          JudgeNear,   \* BOOLEAN: ... and judge no other's when it is off by more than Judge
          WaitMargin,  \* BOOLEAN: a second post waits for the claim's end and the margin
          WaitSkew,    \* BOOLEAN: ... and for what the two clocks may be apart
          RoomForSkew, \* BOOLEAN: a repeat leaves as much of the window as the two clocks may be apart
          WallTime     \* BOOLEAN: what is left of a claim is told from the clock, which goes on while the machine is suspended

VARIABLES now, grace, aheadA, aheadB, sent, acted, claimB, postedB, arrivedB
vars == <<now, grace, aheadA, aheadB, sent, acted, claimB, postedB, arrivedB>>

Abs(x) == IF x < 0 THEN -x ELSE x
A == now + aheadA
B == now + aheadB
ClaimA == aheadA                                  \* by A's clock; A claims at tick 0
Allowance == IF WaitSkew THEN Claimer + Judge ELSE 0
Room == IF RoomForSkew THEN Claimer + Judge ELSE 0
Wait == IF WaitMargin THEN Margin ELSE 0

Init ==
  /\ now = 0 /\ grace \in BOOLEAN /\ aheadA \in -Off..Off /\ aheadB \in -Off..Off
  /\ ClaimNear => Abs(aheadA) <= Claimer
  /\ sent = Nil /\ acted = Nil /\ claimB = Nil /\ postedB = Nil /\ arrivedB = Nil

Tick == now < MaxTick /\ now' = now + 1 /\ UNCHANGED <<grace, aheadA, aheadB, sent, acted, claimB, postedB, arrivedB>>

----------------------------------------------------------------------------
(* A sends while its claim lasts, and what it sent acts by the end of its reach. *)
MaySend == sent = Nil /\ (WallTime => A <= ClaimA + Length)
Send    == MaySend /\ sent' = now /\ UNCHANGED <<now, grace, aheadA, aheadB, acted, claimB, postedB, arrivedB>>
MayAct  == sent # Nil /\ acted = Nil /\ A <= ClaimA + Length + Reach
Act     == MayAct /\ acted' = now /\ UNCHANGED <<now, grace, aheadA, aheadB, sent, claimB, postedB, arrivedB>>

(* B takes the claim over: as a last resort, or within the window of a grace provider. *)
TakeOver ==
  /\ claimB = Nil /\ JudgeNear => Abs(aheadB) <= Judge
  /\ B > ClaimA + Length + Wait + Allowance
  /\ grace => B + Length + Margin + Room < ClaimA + Period
  /\ claimB' = B /\ UNCHANGED <<now, grace, aheadA, aheadB, sent, acted, postedB, arrivedB>>
Post   == /\ claimB # Nil /\ postedB = Nil /\ B <= claimB + Length
          /\ postedB' = now /\ UNCHANGED <<now, grace, aheadA, aheadB, sent, acted, claimB, arrivedB>>
Arrive == /\ postedB # Nil /\ arrivedB = Nil /\ B <= claimB + Length + Reach
          /\ arrivedB' = now /\ UNCHANGED <<now, grace, aheadA, aheadB, sent, acted, claimB, postedB>>

Next == Tick \/ Send \/ Act \/ TakeOver \/ Post \/ Arrive
Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
(* P4: when a token is posted a second time, nothing of the first attempt is left to come. *)
NoOverlap == postedB # Nil => /\ acted # Nil => acted <= postedB
                              /\ ~MayAct
                              /\ ~MaySend
(* P4: a repeat reaches a grace provider within its window, counted from the first use. *)
InWindow == (grace /\ arrivedB # Nil /\ acted # Nil) => arrivedB < acted + Period
=============================================================================
