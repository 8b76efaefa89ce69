package store

// A Move is one way from a state to another, named after the method that makes it.
type Move struct {
	From, To Status
	By       string
}

// Transitions lists every move there is. A pair that is not listed does not happen: each method's SQL names the state
// it moves from in its predicate, and TestEveryPair tries them all.
var Transitions = []Move{
	{Queued, Processing, "Claim"},
	{Queued, Cancelled, "Cancel"},
	{Processing, Completed, "Commit"}, // the last batch
	{Processing, Cancelled, "Commit"}, // a cancel was requested before this batch
	{Processing, Failed, "Fail"},      // a permanent error, or one transient error too many
	{Processing, Cancelled, "Fail"},   // failed after a cancel was requested: the user's wish wins
	{Processing, Queued, "Fail"},      // a transient error, after its backoff
	{Processing, Queued, "Crash"},     // a process that the worker had started died of it
	{Processing, Failed, "Crash"},     // too often without progress: poison
	{Processing, Cancelled, "Crash"},  // after a cancel was requested
	{Processing, Queued, "HandOver"},
	{Processing, Cancelled, "HandOver"}, // a cancel was requested: nobody needs to go on
	{Processing, Queued, "Sweep"},       // the lease lapsed
	{Processing, Cancelled, "Sweep"},    // the lease lapsed after a cancel was requested
	{Processing, Failed, "Sweep"},       // the lease lapsed too often without progress: poison
}

// MayMove reports whether any method moves an operation from one state to another.
func MayMove(from, to Status) bool {
	for _, m := range Transitions {
		if m.From == from && m.To == to {
			return true
		}
	}
	return false
}
