// Package store is the truth: documents, operations, chunks, events and idempotency keys in SQL, and every move
// between an operation's states.
//
// The operations table is the queue. A worker claims the oldest due operations of a lane and holds each under a lease
// with an epoch; every later write of that run names the epoch, and a write whose epoch is not the row's own changes
// nothing (ErrFenced). Sequence numbers are given under the row lock, so an operation's events are dense from 1 in
// commit order, exactly one of them is terminal and nothing follows it. Times are the database's clock, never a
// worker's. The methods return the events they wrote; publishing them, after the commit, is the caller's.
//
// Every method takes the owner and puts it in the SQL predicate: a foreign id and a missing one are the same
// ErrNotFound. All methods may be called from any number of goroutines at once.
package store
