package main

import (
	"fmt"
	"io"
	"log"
	"strings"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/sentences"
	"github.com/pkoukk/tiktoken-go"
	"github.com/tiktoken-go/tokenizer"
	"github.com/tmc/langchaingo/textsplitter"

	"chunkstream/token"
)

// peer is another library's way to do the same.
type peer struct {
	name string
	run  func(text string) error
}

// peerOf chooses whom a setting is compared with: the library that comes nearest, which is langchaingo's recursive
// splitter where there is none of the kind.
func peerOf(s setting) (peer, error) {
	if s.strategy == "sentence" && s.unit == "chars" {
		return peer{"uax29 sentences", func(text string) error {
			for at := sentences.FromString(text); at.Next(); {
			}
			return nil
		}}, nil
	}
	log.SetOutput(io.Discard) // langchaingo tells of every chunk above the limit
	if s.unit == "" {
		s.unit, s.size = "chars", 1000
	}
	length := map[string]func(string) int{
		"bytes": func(s string) int { return len(s) }, "chars": utf8.RuneCountInString,
		"words": func(s string) int { return len(strings.Fields(s)) },
	}[s.unit]
	name := fmt.Sprintf("langchaingo %d %s/%d", s.size, s.unit, s.overlap)
	if s.unit == "tokens" {
		var err error
		if length, err = tokenLength(s.tokenizer); err != nil {
			return peer{}, err
		}
		name += " " + s.tokenizer
	}
	options := []textsplitter.Option{
		textsplitter.WithChunkSize(s.size), textsplitter.WithChunkOverlap(s.overlap), textsplitter.WithLenFunc(length),
	}
	var splitter textsplitter.TextSplitter = textsplitter.NewRecursiveCharacter(options...)
	if s.strategy == "markdown" {
		splitter, name = textsplitter.NewMarkdownTextSplitter(options...), name+" markdown"
	}
	return peer{name, func(text string) error {
		_, err := splitter.SplitText(text)
		return err
	}}, nil
}

// tokenLength is how langchaingo's users count tokens.
func tokenLength(encoding string) (func(text string) int, error) {
	tiktoken.SetBpeLoader(ranks{})
	e, err := tiktoken.GetEncoding(encoding)
	if err != nil {
		return nil, err
	}
	return func(text string) int { return len(e.EncodeOrdinary(text)) }, nil
}

// counter is the fastest of the Go libraries that count tokens.
func counter(encoding string) (peer, error) {
	codec, err := tokenizer.Get(tokenizer.Encoding(encoding))
	return peer{"tiktoken-go/tokenizer", func(text string) error {
		_, err := codec.Count(text)
		return err
	}}, err
}

// ranks gives tiktoken-go our copy of OpenAI's vocabularies, which it would fetch.
type ranks struct{}

// LoadTiktokenBpe reads the encoding that the file of an address such as https://…/cl100k_base.tiktoken is for.
func (ranks) LoadTiktokenBpe(file string) (map[string]int, error) {
	name := strings.TrimSuffix(file[strings.LastIndexByte(file, '/')+1:], ".tiktoken")
	encoding, err := token.Get(name)
	if err != nil {
		return nil, err
	}
	all := map[string]int{}
	// The numbers of special tokens lie in gaps and behind the end; no encoding has a gap of a thousand.
	for id, missing := uint32(0), 0; missing < 1000; id++ {
		text, err := encoding.Decode([]uint32{id})
		if err != nil {
			missing++
			continue
		}
		all[text], missing = int(id), 0
	}
	return all, nil
}
