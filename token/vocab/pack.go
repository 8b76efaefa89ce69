//go:build ignore

// Command pack writes the vocabularies of package token from the .tiktoken files in the folder it is given:
//
//	go run vocab/pack.go "$(go env GOMODCACHE)/github.com/pkoukk/tiktoken-go-loader@v0.0.2/assets"
//
// A .tiktoken file has a line for each token, its bytes in base64 and its rank. A packed one is the lengths of the
// tokens by rank, a byte each (0 where a rank is not used), a 0xFF, and then their bytes, all in one DEFLATE stream.
// p50k_base is r50k_base and 24 more tokens, so only those are kept of it.
package main

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"path/filepath"
)

func main() {
	shared := 0
	for _, name := range []string{"cl100k_base", "o200k_base", "r50k_base", "p50k_base"} {
		text, err := os.ReadFile(filepath.Join(os.Args[1], name+".tiktoken"))
		if err != nil {
			log.Fatal(err)
		}
		var lengths, tokens []byte
		rank := 0
		for line := range bytes.Lines(text) {
			var b64 string
			var r int
			if _, err := fmt.Sscan(string(line), &b64, &r); err != nil {
				log.Fatal(err)
			}
			token, err := base64.StdEncoding.DecodeString(b64)
			if err != nil || len(token) == 0 || len(token) >= 0xFF || r < rank {
				log.Fatalf("%s: %q: %v", name, line, err)
			}
			if name == "p50k_base" && r < shared {
				continue
			}
			for ; rank < r; rank++ {
				if name != "p50k_base" || rank >= shared {
					lengths = append(lengths, 0)
				}
			}
			lengths = append(lengths, byte(len(token)))
			tokens = append(tokens, token...)
			rank++
		}
		if name == "r50k_base" {
			shared = rank
		}
		var packed bytes.Buffer
		w, err := flate.NewWriter(&packed, flate.BestCompression)
		if err != nil {
			log.Fatal(err)
		}
		for _, part := range [][]byte{lengths, {0xFF}, tokens} {
			if _, err := w.Write(part); err != nil {
				log.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			log.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join("vocab", name+".bin"), packed.Bytes(), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}
