package access

// UnderWay is how many requests are under way.
func (s *Service) UnderWay() int { return len(s.slots) }
