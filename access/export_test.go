package access

import "github.com/tokenworker/tokenworker/events"

// UnderWay is how many requests are under way.
func (s *Service) UnderWay() int { return len(s.slots) }

// Status is the number beside a code.
func Status(code events.GetCode) int { return status(code) }
