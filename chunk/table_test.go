package chunk_test

import (
	"fmt"
	"strings"
	"testing"

	"chunkstream/chunk"
	"chunkstream/chunk/chunktest"
)

// tableTexts have been read wrongly as tables.
var tableTexts = []struct{ name, text string }{
	{"records", "id,name\n" + strings.Repeat("1,two words\n", 40)},
	{"quoted", "id;text\r\n" + strings.Repeat("1;\"two\r\nlines; \"\"and\"\" more\"\r\n", 20)},
	{"an open quote", "a,b\n1,\"never closed\n" + strings.Repeat("2,3\n", 50)},
	{"quotes in text", strings.Repeat("5\" pipe,6\" pipe\n", 20)},
	{"quotes", "\""}, {"quote lines", "\"\n"}, {"commas", ","}, {"quotes and commas", "\","}, {"tabs", "a\tb\n"},
	{"CR", "a,b\r1,2\r"}, {"a long row", strings.Repeat("word,", 600) + "\n"}, {"a long cell", "\"" + strings.Repeat("word ", 600) + "\"\n"},
	{"Markdown", "Text.\n\n| a | b |\n|---|---|\n" + strings.Repeat("| 1 | 2 |\n", 30)}, {"delimiters", "|-|\n"},
	{"blank lines", "a,b\n\n\n\n1,2\n"}, {"wide cells", "漢字,\u3000,e\u0301\n"}, {"escaped quotes", "\"\"\"\"\"\",\n"},
}

func TestTable(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limits chunktest.Limits
		more   string
	}{
		{chunktest.Limits{Unit: "chars", Size: 1}, ``},
		{chunktest.Limits{Unit: "chars", Size: 60, Overlap: 25}, `,"context_in_size":true`},
		{chunktest.Limits{Unit: "bytes", Size: 9}, `,"header":false,"delimiter":"tab"`},
		{chunktest.Limits{Unit: "bytes", Size: 200, Soft: 90}, `,"header":true`},
		{chunktest.Limits{Unit: "words", Size: 12, Overlap: 4}, ``},
		{chunktest.Limits{Unit: "tokens", Size: 24, Sizer: sizer(t, "cl100k_base")}, `,"context_in_size":true`},
	} {
		t.Run(fmt.Sprint(test.limits.Unit, test.limits.Size), func(t *testing.T) {
			t.Parallel()
			limits := test.limits
			limits.Window = markdownWindow(limits)
			s := parseMore(t, "table", limits, test.more)
			limits.AtMost, limits.Context = true, strings.Contains(test.more, "context")
			check := func(name, text string) {
				if limits.Size < 10 {
					text = strings.ToValidUTF8(text[:min(len(text), 700)], "")
				}
				chunktest.Check(t, s, text, limits)
				if checkWindows(t, s, text); t.Failed() {
					t.Fatalf("text: %s", name)
				}
			}
			for _, text := range chunktest.Texts() {
				check(text.Name, text.Text)
			}
			for _, text := range tableTexts {
				check(text.name, strings.Repeat(text.text, max(1, 2000/len(text.text))))
			}
		})
	}
}

func TestTableCuts(t *testing.T) {
	t.Parallel()
	for _, test := range []cutTest{
		{
			"between records, with the header", ``, 16, 0, "id,name\n1,a\n2,b\n3,c\n4,d\n5,e\n",
			[]string{
				`table "id,name\n1,a\n2,b\n" row`, `table "3,c\n4,d\n5,e\n" end < table_header "id,name"`,
			},
		},
		{
			"a record of several lines", ``, 26, 0, "id;text\r\n1;\"a\r\nb; \"\"c\"\"\"\r\n2;d\r\n3;e",
			[]string{
				`table "id;text\r\n1;\"a\r\nb; \"\"c\"\"\"\r\n" row`, `table "2;d\r\n3;e" end < table_header "id;text"`,
			},
		},
		{
			"a row above the limit is cut between cells, a cell as text", ``, 12, 0, "a,b\none,two three,four five six seven\n8,9\n",
			[]string{
				`table "a,b\n" row`, `table "one," clause < table_header "a,b"`, `table "two three," clause < table_header "a,b"`,
				`table "four five " word < table_header "a,b"`, `table "six seven\n" row < table_header "a,b"`,
				`table "8,9\n" end < table_header "a,b"`,
			},
		},
		{"a number is no header", ``, 8, 0, "1,a\n2,b\n3,c\n", []string{`table "1,a\n2,b\n" row`, `table "3,c\n" end`}},
		{
			"it may be one", `,"header":true`, 8, 0, "1,a\n2,b\n3,c\n",
			[]string{`table "1,a\n2,b\n" row`, `table "3,c\n" end < table_header "1,a"`},
		},
		{"there may be none", `,"header":false`, 8, 0, "x,a\n2,b\n3,c\n", []string{`table "x,a\n2,b\n" row`, `table "3,c\n" end`}},
		{
			"context counts", `,"context_in_size":true`, 16, 0, "id,name\n1,a\n2,b\n3,c\n4,d\n",
			[]string{`table "id,name\n" row`, `table "1,a\n2,b\n" row < table_header "id,name"`, `table "3,c\n4,d\n" end < table_header "id,name"`},
		},
		{
			"overlap is whole rows", ``, 13, 6, "id,x\n1,a\n2,b\n3,c\n4,d\n",
			[]string{`table "id,x\n1,a\n2,b\n" row`, `table "2,b\n3,c\n4,d\n" end < table_header "id,x"`},
		},
		{
			"a line end that does not fit", ``, 7, 0, "1,2,3,4\r\n5,6,7,8\r\n",
			[]string{`table "1,2,3,4" row`, `table "5,6,7,8" row`},
		},
		{
			"quotes in the middle of a cell", ``, 13, 0, "1\" x,2\n3,4\"\n5,6\n7,8\n",
			[]string{`table "1\" x,2\n3,4\"\n" row`, `table "5,6\n7,8\n" end`},
		},
		{
			"a Markdown table", ``, 40, 0, "| a | b |\n|---|---|\n| 1 | x |\n| 2 | y |\n| 3 | z |\n",
			[]string{
				`table "| a | b |\n|---|---|\n| 1 | x |\n| 2 | y |\n" row`, `table "| 3 | z |\n" end < table_header "| a | b |\n|---|---|"`,
			},
		},
		{
			"a Markdown table without header", `,"header":false`, 40, 0, "| a | b |\n|---|---|\n| 1 | x |\n| 2 | y |\n| 3 | z |\n",
			[]string{`table "| a | b |\n|---|---|\n| 1 | x |\n| 2 | y |\n" row`, `table "| 3 | z |\n" end`},
		},
		{
			"a quote that never closes loses nothing", ``, 14, 0, "a,b\n1,\"x\n2,y\n3,z\n4,w\n",
			[]string{
				`table "a,b\n" row`, `table "1," clause < table_header "a,b"`, `table "\"x\n2,y\n3,z\n" line < table_header "a,b"`,
				`table "4,w\n" end < table_header "a,b"`,
			},
		},
	} {
		test.check(t, "table")
	}
}

func TestTableRefuses(t *testing.T) {
	t.Parallel()
	for settings, want := range map[string]string{
		`{"header":"yes"}`:      `header must be true or false, not the string "yes" (use true, false or "auto")`,
		`{"delimiter":"colon"}`: `delimiter: "colon" is not one of its values (use auto, comma, semicolon, tab or pipe)`,
	} {
		if _, err := chunk.Parse("table", []byte(settings)); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", settings, err, want)
		}
	}
	plan, err := chunk.Parse("table", []byte(`{"header":"auto","delimiter":"auto"}`))
	if want := `{"chunk_size":1000,"chunk_overlap":0,"unit":"chars"}`; err != nil || string(plan.Settings) != want {
		t.Errorf("got %s, %v; want %s", plan.Settings, err, want)
	}
}

func FuzzTable(f *testing.F) {
	for i, text := range tableTexts {
		f.Add(strings.Repeat(text.text, 1+200/len(text.text)), uint8(10+3*i), uint8(i), uint8(i), uint8(i))
	}
	f.Fuzz(func(t *testing.T, text string, size, overlap, which, how uint8) {
		limits := anyLimits(t, size, overlap, which)
		more := fmt.Sprintf(`,"header":%s`, []string{"true", "false", `"auto"`}[which%3])
		fuzzMarkdownLike(t, "table", text, limits, how, more)
	})
}

func BenchmarkTable(b *testing.B) {
	const size = 4 << 20
	row := "12345,\"Some, words\",2026-11-26,3.14,another cell of text,true\n"
	for _, text := range []chunktest.Text{
		{Name: "csv", Text: "id,words,day,number,text,flag\n" + strings.Repeat(row, size/len(row))},
		{Name: "plain csv", Text: "id,words,day\n" + strings.Repeat("12345,some words of text,2026-11-26,true\n", size/41)},
		{Name: "markdown", Text: "| a | b |\n|---|---|\n" + strings.Repeat("| some words | 2026-11-26 | 3.14 |\n", size/36)},
	} {
		b.Run(text.Name, func(b *testing.B) {
			s := parse(b, "table", chunktest.Limits{Unit: "chars", Size: 1000})
			benchmarkSplit(b, s, text.Text)
		})
	}
}

func ExampleParse_table() {
	text := "city,people\nOslo,717710\nBergen,291940\nTromsø,77992\n"
	plan, err := chunk.Parse("table", []byte(`{"chunk_size":30}`))
	if err != nil {
		panic(err)
	}
	for c := range plan.Splitter.Split(text) {
		if c.Context != nil {
			fmt.Printf("%s: %q, ", c.Context.Kind, c.Context.Text)
		}
		fmt.Printf("%q\n", text[c.Start:c.End])
	}
	// Output:
	// "city,people\nOslo,717710\n"
	// table_header: "city,people", "Bergen,291940\nTromsø,77992\n"
}
