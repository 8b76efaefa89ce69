// Command bench measures the chunking library from outside: its speed beside that of other Go libraries, and the quality
// of its chunks for retrieval. It is a module of its own, so that what it is compared with never becomes a dependency of
// the product.
//
//	go run . corpus [folder]     build the texts to measure on from Debian's packages (Debian 12, about 100 MB to fetch)
//	go run . speed [flags]       MB/s of one core, the ratio to a peer, allocations, linearity
//	go run . quality [flags]     recall at a budget of characters, excerpts cut, with intervals
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"chunkstream/chunk"
	"chunkstream/token"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	commands := map[string]func([]string) error{
		"corpus": runCorpus, "speed": runSpeed, "quality": runQuality,
	}
	if len(args) > 0 && commands[args[0]] != nil {
		return commands[args[0]](args[1:])
	}
	return fmt.Errorf("want corpus, speed or quality; `go run . speed -h` lists the flags of speed")
}

// defaultCorpus is where the corpus lies when no folder is named: with the user's caches.
func defaultCorpus() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return filepath.Join(cache, "chunkstream", "corpus")
}

// parser makes plans with our tokenizers, as the product does.
var parser = chunk.Parser{Tokenizer: func(name string) (chunk.Sizer, error) { return token.Get(name) }}
