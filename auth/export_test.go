package auth

// Remembered counts the addresses that have failed and what has opened, as they are in memory.
func Remembered(g *Gate) (failing, trusted int) {
	g.attempts.mu.Lock()
	defer g.attempts.mu.Unlock()
	return len(g.attempts.failing), len(g.attempts.trusted)
}
