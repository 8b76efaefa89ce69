package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"

	"chunkstream/extract"
	"chunkstream/store"
)

// A body is nearly always text in UTF-8, which is stored as it comes. Only where it turns out to be something else, or
// is declared to be, is it read back and decoded, in memory, within the bound that JSON bodies have too.

// headBytes is what of a source its format is recognised by.
const headBytes = 4 << 10

// watched passes a body on and finds out on the way whether it is text in UTF-8 without NUL.
type watched struct {
	text  io.Reader // of raw, checked
	raw   lastRead
	fault *extract.Error // the first, if any
	shift bool           // it has an ESC, as ISO-2022-JP, which is ASCII to UTF-8
	head  []byte         // the first headBytes
}

// lastRead remembers what its last Read gave, which a reader around it may have held back.
type lastRead struct {
	r   io.Reader
	n   int
	err error
}

func (l *lastRead) Read(p []byte) (int, error) {
	l.n, l.err = l.r.Read(p)
	return l.n, l.err
}

func watch(r io.Reader) *watched {
	w := &watched{raw: lastRead{r: r}}
	w.text = extract.NewText(&w.raw)
	return w
}

func (w *watched) Read(p []byte) (n int, err error) {
	if w.fault != nil {
		n, err = w.raw.Read(p)
	} else if n, err = w.text.Read(p); errors.As(err, &w.fault) {
		n, err = w.raw.n, w.raw.err
	}
	w.shift = w.shift || bytes.IndexByte(p[:n], 0x1b) >= 0
	if w.head == nil {
		w.head = make([]byte, 0, headBytes)
	}
	if len(w.head) < headBytes {
		w.head = append(w.head, p[:min(n, headBytes-len(w.head))]...)
	}
	return n, err
}

// declared is what a request says of a source's encoding.
type declared struct {
	encoding string         // a label, or empty
	param    string         // where that stood
	policy   extract.Policy // for bytes that the encoding does not allow
}

// declaration reads the fields encoding and invalid, and the charset of the text's content type, which the field wins over.
func (in *input) declaration() (d declared, err error) {
	d.encoding, d.param = in.encoding, "encoding"
	if d.encoding == "" {
		d.encoding, d.param = in.charset, "Content-Type"
	}
	if _, ok := extract.Charset(d.encoding); d.encoding != "" && !ok {
		p := problem("invalid_value", d.param, "%q is not an encoding that is known", clip(d.encoding))
		if d.param == "Content-Type" {
			p = problem("unsupported_media_type", d.param, "the charset %q is not an encoding that is known", clip(d.encoding))
		}
		return d, p.suggest("leave it out, and the encoding is found out; docs/formats.md lists those that are known")
	}
	if in.invalid != "" {
		if d.policy, err = extract.ParsePolicy(in.invalid); err != nil {
			return d, problem("invalid_value", "invalid", "invalid must be reject, replace or bytes, not %q", clip(in.invalid)).
				suggest("use reject, replace or bytes")
		}
	}
	return d, nil
}

// asItIs reports whether a source is its own text under that declaration for certain (see extract.Detect).
func (d declared) asItIs(w *watched) bool {
	if w.fault != nil || w.shift {
		return false
	}
	name, _ := extract.Charset(d.encoding)
	return !strings.HasPrefix(name, "utf-16") && !strings.HasPrefix(name, "utf-32") && name != "iso-2022-jp"
}

// source describes a text that is its own source.
func source(name string, head []byte) (store.Source, error) {
	f := extract.Recognise(name, head)
	if f.Kind == extract.Binary {
		return store.Source{}, &extract.BinaryError{Name: name, Is: f.Detail}
	}
	return utf8Source(f, head), nil
}

func utf8Source(f extract.Format, head []byte) store.Source {
	s := store.Source{Encoding: "utf-8", By: extract.ByValid, Confidence: 1, Format: string(f.Kind), Language: f.Language}
	if bytes.HasPrefix(head, []byte("\ufeff")) {
		s.By = extract.ByBOM
	}
	return s
}

// decode gives the text and the description of what was staged from w: the same where it is text in UTF-8, and decoded
// where it is not. What it was given is discarded when something else, or an error, comes back.
func (a *API) decode(ctx context.Context, who string, staged *store.Staged, w *watched, in *input) (*store.Staged, store.Source, error) {
	d, err := in.declaration()
	if err != nil {
		return nil, store.Source{}, errors.Join(err, discard(ctx, staged))
	}
	if in.unicode {
		if w.fault != nil {
			return nil, store.Source{}, errors.Join(w.fault, discard(ctx, staged))
		}
		f := extract.Recognise(in.name, w.head)
		if f.Kind == extract.Binary {
			f = extract.Format{Kind: extract.PlainText}
		}
		return staged, utf8Source(f, w.head), nil
	}
	if d.asItIs(w) {
		s, err := source(in.name, w.head)
		if err != nil {
			return nil, s, errors.Join(err, discard(ctx, staged))
		}
		return staged, s, nil
	}
	text, s, err := a.decodeStaged(ctx, who, staged, d, in.name)
	if text == staged {
		return text, s, err
	}
	if derr := discard(ctx, staged); err == nil && derr != nil {
		err = errors.Join(derr, discard(ctx, text))
	}
	return text, s, err
}

func (a *API) decodeStaged(ctx context.Context, who string, staged *store.Staged, d declared, name string) (*store.Staged, store.Source, error) {
	need := 4 * staged.Bytes // the source, its text, and the map between them
	if need > jsonFree {
		if !a.json.TryAcquire(min(need, jsonInFlight)) {
			return nil, store.Source{}, problem("busy", "", "too many large documents in other encodings at once").
				suggest("send it in UTF-8, which has no such limit, or again after Retry-After")
		}
		defer a.json.Release(min(need, jsonInFlight))
	}
	data, err := staged.Read(ctx)
	if err != nil {
		return nil, store.Source{}, err
	}
	doc, s, err := decodeBytes(name, d, data)
	if err != nil {
		return nil, s, err
	}
	if s.Encoding == "utf-8" && s.Undecodable == 0 {
		return staged, utf8Source(doc.Format, data), nil
	}
	text, err := a.cfg.Store.StageDecoded(ctx, who, doc.Text, doc.Offsets.Source, MaxText)
	return text, s, err
}

// decodeBytes decodes a source in memory.
func decodeBytes(name string, d declared, data []byte) (*extract.Document, store.Source, error) {
	doc, err := extract.Text(name, d.encoding, data, d.policy)
	if err != nil {
		return nil, store.Source{}, err
	}
	sum := sha256.Sum256(data)
	s := store.Source{
		Encoding: doc.Encoding.Name, By: doc.Encoding.By, Confidence: doc.Encoding.Confidence, Undecodable: doc.Encoding.Undecodable,
		Format: string(doc.Format.Kind), Language: doc.Format.Language, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(data)),
	}
	if s.Undecodable > 0 {
		s.FirstFault = doc.Encoding.FirstFault
	}
	return doc, s, nil
}

// Source is what a text was made from, as clients see it.
type Source struct {
	Encoding    string  `json:"encoding" doc:"As the WHATWG Encoding Standard names it" example:"windows-1252"`
	By          string  `json:"by" enum:"bom,valid,declared,guessed" doc:"How it came to be known, the surest first"`
	Confidence  float64 `json:"confidence" doc:"1 for all but a guess; for a guess from 0 to 1"`
	Undecodable int64   `json:"undecodable" doc:"Bytes that the encoding does not allow, and that were replaced or kept as characters"`
	Format      string  `json:"format" enum:"text,markdown,html,code,csv,tsv,json,jsonl" doc:"By name and content"`
	Language    string  `json:"language,omitempty" doc:"Of code" example:"go"`
	Bytes       int64   `json:"bytes" doc:"Of what was uploaded"`
	SHA256      string  `json:"sha256" doc:"Of what was uploaded"`
}

// viewOfSource is nil where nothing is known, as for documents of an older version. size and sum are of the text.
func viewOfSource(s store.Source, size int64, sum string) *Source {
	if s == (store.Source{}) {
		return nil
	}
	v := &Source{Encoding: s.Encoding, By: s.By, Confidence: s.Confidence, Undecodable: s.Undecodable, Format: s.Format,
		Language: s.Language, Bytes: s.Bytes, SHA256: s.SHA256}
	if s.SHA256 == "" {
		v.Bytes, v.SHA256 = size, sum
	}
	return v
}
