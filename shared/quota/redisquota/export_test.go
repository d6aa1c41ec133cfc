package redisquota

// Rested lets a store ask its server again at once.
func Rested(s *Store) { s.pause.Worked() }
