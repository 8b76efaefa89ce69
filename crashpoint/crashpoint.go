// Package crashpoint names the places where a test build can be killed.
//
// In an ordinary build Hit is an empty function that the compiler removes. In a build with the tag `crashpoints`, the
// process sends itself SIGKILL at the n-th hit of the point named in CHUNKSTREAM_CRASH_AT ("name", or "name:n" for the
// n-th hit, counted from 1 over the whole process). SIGKILL runs no deferred call, flushes no buffer and warns nobody,
// as a power cut or the kernel's memory killer would; what is left on disk is what had been made durable.
//
// The package owns the names and nothing else: it starts no goroutine and never returns an error.
package crashpoint

// Point is a place where the process can be made to die. Points lists all of them.
type Point string

// The points, in the order in which one operation passes them.
const (
	// AfterStage: the whole body is staged in the store, and no operation refers to it yet.
	AfterStage Point = "after-stage"
	// AfterSubmitCommit: the operation is durable, queued or claimed, and its client has not been answered.
	AfterSubmitCommit Point = "after-submit-commit"
	// BeforeWake: the operation is durable, and no worker has been woken for it.
	BeforeWake Point = "before-wake"
	// AfterClaimCommit: a lease is held, and none of its work has begun.
	AfterClaimCommit Point = "after-claim-commit"
	// BeforeBatchCommit: spans of a batch are in memory, and none of them is in the store.
	BeforeBatchCommit Point = "before-batch-commit"
	// AfterBatchCommit: a batch and its event are durable, and the worker has not been told.
	AfterBatchCommit Point = "after-batch-commit"
	// BeforeFinishCommit: everything has been cut, and the terminal transaction has not been sent.
	BeforeFinishCommit Point = "before-finish-commit"
	// AfterFinishCommit: the operation has ended durably, and the worker has not been told.
	AfterFinishCommit Point = "after-finish-commit"
	// BeforePublish: an event is durable, and no watcher has seen it.
	BeforePublish Point = "before-publish"
	// MidHandover: a stopping worker has given some of its operations back, and not all.
	MidHandover Point = "mid-handover"
)

// Points returns every point, in the order in which an operation passes them.
func Points() []Point {
	return []Point{
		AfterStage, AfterSubmitCommit, BeforeWake, AfterClaimCommit, BeforeBatchCommit, AfterBatchCommit,
		BeforeFinishCommit, AfterFinishCommit, BeforePublish, MidHandover,
	}
}
