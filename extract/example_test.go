package extract_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"strings"

	"chunkstream/extract"
)

// A chunk of the text, and where it is in the file.
func ExampleText() {
	file := []byte("Stra\xdfe:\tGro\xdfe Bleiche 15\nOrt:\tK\xf6ln\n") // windows-1252, as nobody says
	doc, err := extract.Text("address", "", file, extract.Reject)
	if err != nil {
		log.Fatal(err)
	}
	start := strings.Index(doc.Text, "Köln")
	from, to := doc.Offsets.Source(start), doc.Offsets.Source(start+len("Köln"))
	fmt.Println(doc.Encoding.Name, doc.Encoding.By, doc.Format.Kind)
	fmt.Printf("%s is %q, bytes %d to %d of the file\n", doc.Text[start:start+len("Köln")], file[from:to], from, to)
	// Output:
	// windows-1252 guessed text
	// Köln is "K\xf6ln", bytes 30 to 34 of the file
}

func ExampleText_policies() {
	file := []byte("na\xefve caf\xc3\xa9, caf\xc3\xa9 cr\xc3\xa8me") // UTF-8, but for one byte
	_, err := extract.Text("menu.txt", "utf-8", file, extract.Reject)
	var fault *extract.Error
	fmt.Println(errors.As(err, &fault), err)
	for _, policy := range []extract.Policy{extract.Replace, extract.Bytes} {
		doc, err := extract.Text("menu.txt", "utf-8", file, policy)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%v: %s (%d byte undecodable)\n", policy, doc.Text, doc.Encoding.Undecodable)
	}
	// Output:
	// true text is not valid UTF-8 at offset 2
	// replace: na�ve café, café crème (1 byte undecodable)
	// bytes: naïve café, café crème (1 byte undecodable)
}

func ExampleText_binary() {
	_, err := extract.Text("report.pdf", "", []byte("%PDF-1.7\n"), extract.Reject)
	var binary *extract.BinaryError
	fmt.Println(errors.As(err, &binary), err)
	// Output: true report.pdf: pdf is not read by this version
}

func ExampleNewReader() {
	mail := strings.NewReader("\x1b$B$3$s$K$A$O\x1b(B, world\n")
	r, err := extract.NewReader(mail, "iso-2022-jp", extract.Reject)
	if err != nil {
		log.Fatal(err)
	}
	text, err := io.ReadAll(r)
	fmt.Printf("%s%v\n", text, err)
	// Output:
	// こんにちは, world
	// <nil>
}

func ExampleRecognise() {
	for _, file := range []struct{ name, head string }{
		{"notes/today.md", ""}, {"build", "#!/bin/sh\nmake\n"}, {"export", "id,name\n1,Ada\n2,Grace\n"}, {"cat.txt", "GIF89a"},
	} {
		f := extract.Recognise(file.name, []byte(file.head))
		fmt.Printf("%s: %q %q\n", file.name, f.Kind, f.Language+f.Detail)
	}
	// Output:
	// notes/today.md: "markdown" ""
	// build: "code" "shell"
	// export: "csv" ""
	// cat.txt: "binary" "gif image"
}
