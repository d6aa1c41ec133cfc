package quota

// Kept is how many windows are remembered.
func Kept(m *Memory) int { return len(m.windows) }
