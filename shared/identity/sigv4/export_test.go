package sigv4

// Kept is how many sessions of callers are kept.
func Kept(p *PerCaller) int { return len(p.sessions) }
