package chunk_test

import (
	"errors"
	"fmt"

	"chunkstream/chunk"
	"chunkstream/token"
)

func Example() {
	plan, err := chunk.Parse("recursive", []byte(`{"chunk_size": 24}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	text := "It was so. Or, was it?\n\n你好。Yes, it was."
	for s := range plan.Splitter.Split(text) {
		fmt.Printf("%2d %2d %q\n", s.Start, s.End, text[s.Start:s.End])
	}
	// Output:
	//  0 24 "It was so. Or, was it?\n\n"
	// 24 45 "你好。Yes, it was."
}

func ExampleParse() {
	plan, err := chunk.Parse("character", []byte(`{"unit": "bytes", "chunk_overlap": 100}`))
	fmt.Println(plan.Strategy, string(plan.Settings), err)

	_, err = chunk.Parse("character", []byte(`{"max_tokens": 512}`))
	var perr *chunk.ParamError
	if errors.As(err, &perr) {
		fmt.Println(perr.Code, perr.Param)
		fmt.Println(perr.Suggestion)
	}
	// Output:
	// fixed_size {"chunk_size":1000,"chunk_overlap":100,"unit":"bytes"} <nil>
	// unknown_field max_tokens
	// use "chunk_size" with "unit":"tokens"
}

func ExampleParser() {
	parser := chunk.Parser{Tokenizer: func(name string) (chunk.Sizer, error) { return token.Get(name) }}
	plan, err := parser.Parse("recursive", []byte(`{"chunk_size": 8, "unit": "tokens"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(plan.Settings))
	text := "No token reaches across two chunks. None is lost, either."
	for s := range plan.Splitter.Split(text) {
		fmt.Printf("%q\n", text[s.Start:s.End])
	}
	// Output:
	// {"chunk_size":8,"chunk_overlap":0,"unit":"tokens","tokenizer":"cl100k_base"}
	// "No token reaches across two chunks. "
	// "None is lost, either."
}

func ExampleGuard() {
	plan, err := chunk.Parse("fixed_size", []byte(`{"chunk_size": 6, "chunk_overlap": 2}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	text := "abcdefghij"
	for s, err := range chunk.Guard(plan.Strategy, plan.Splitter, text) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(text[s.Start:s.End])
	}
	// Output:
	// abcdef
	// efghij
}
