package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"chunkstream/chunk"
	"chunkstream/export"
)

// What is downloaded is what the library makes of the text, in every format and for strategies with overlap, levels and
// context, over several pages.
func TestDownload(t *testing.T) {
	s := start(t)
	text := strings.Repeat("# Guide\n\nSome text with 😀, and \"more\" of it.\nAnd =1+1.\n\n## Install\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n", 150)
	for strategy, settings := range map[string]string{
		"markdown": `{"chunk_size":60}`, "hierarchical": `{"chunk_size":300}`, "recursive": `{"chunk_size":9,"chunk_overlap":4,"unit":"words"}`,
	} {
		body := `{"text":` + string(export.AppendString(nil, text)) + `,"name":"=a.md","strategy":"` + strategy + `","config":` + settings + `}`
		op := s.post("/v1/operations?wait=30", body, asJSON).json(t)
		if op["status"] != "completed" {
			t.Fatalf("%s: %v", strategy, op)
		}
		plan, err := chunk.Parse(strategy, []byte(settings))
		if err != nil {
			t.Fatal(err)
		}
		path := "/v1/operations/" + op["id"].(string) + "/download"
		for _, format := range export.Formats() {
			w, _ := export.New(format)
			want := []byte(w.Open())
			sum := sha256.Sum256([]byte(text))
			n := 0
			for d, err := range (chunk.Describer{UTF16: true}).Describe(plan, text) {
				if err != nil {
					t.Fatal(err)
				}
				r := export.Record{ID: chunk.ID(hex.EncodeToString(sum[:]), plan.Strategy, plan.Settings, d.Chunk), Document: "=a.md",
					Strategy: strategy, Unit: "chars", UTF16: true, Detail: d}
				if strategy == "recursive" {
					r.Unit = "words"
				}
				if n++; n > 1 {
					want = append(want, w.Between()...)
				}
				if want, err = w.Append(want, &r); err != nil {
					t.Fatal(err)
				}
			}
			want = append(want, w.Close()...)
			got := s.get(path + "?utf16=true&format=" + format)
			media, ending, _ := export.Media(format)
			if got.status != 200 || got.header.Get("Content-Type") != media ||
				!strings.HasSuffix(got.header.Get("Content-Disposition"), ending+`"`) {
				t.Errorf("%s as %s: got %d %v", strategy, format, got.status, got.header)
			}
			if !bytes.Equal(got.body, want) {
				at := 0
				for at < min(len(want), len(got.body)) && got.body[at] == want[at] {
					at++
				}
				t.Errorf("%s as %s: at %d got %.300q, want %.300q", strategy, format, at, got.body[max(0, at-50):], want[max(0, at-50):])
			}
			if n < 260 {
				t.Errorf("%s: only %d chunks, which is one page", strategy, n)
			}
		}
		file := s.get(path + "?format=parquet").body
		type row struct {
			Index int64  `parquet:"index"`
			Text  string `parquet:"text,optional"`
			Start int64  `parquet:"start_byte"`
		}
		rows, err := parquet.Read[row](bytes.NewReader(file), int64(len(file)))
		if err != nil || float64(len(rows)) != op["chunks"] {
			t.Errorf("%s: got %d rows, %v, want %v", strategy, len(rows), err, op["chunks"])
		}
		for i, r := range rows {
			if r.Index != int64(i) || !strings.HasPrefix(text[r.Start:], r.Text) || r.Text == "" {
				t.Errorf("%s: row %d: got %+v", strategy, i, r)
				break
			}
		}
	}
}

func TestDownloadRefuses(t *testing.T) {
	s := idle(t)
	id := s.post("/v1/operations", "waiting").json(t)["id"].(string)
	wantProblem(t, "not ended", s.get("/v1/operations/"+id+"/download"), 409, "operation_not_ended")
	p := wantProblem(t, "format", s.get("/v1/operations/"+id+"/download?format=parket"), 422, "invalid_value")
	if p["suggestion"] != "use parquet" {
		t.Errorf("got %v", p)
	}
	wantProblem(t, "foreign", s.get("/v1/operations/op_00000000000000000000000000000000/download"), 404, "not_found")
	// An ended one without chunks is an empty file.
	s.post("/v1/operations/"+id+"/cancel", "")
	for format, want := range map[string]string{"json": "[\n\n]\n", "jsonl": "", "csv": "id,"} {
		if got := s.get("/v1/operations/" + id + "/download?format=" + format); got.status != 200 || !strings.HasPrefix(string(got.body), want) {
			t.Errorf("%s: got %d %q", format, got.status, got.body)
		}
	}
}
