package worker

import (
	"chunkstream/chunk"
	"chunkstream/store"
)

// Cut gives the chunks that are stored with the creation of an operation.
func (w *Worker) Cut(splitter chunk.Splitter, text string) ([]store.Chunk, bool) {
	return w.cut("recursive", splitter, text)
}
