package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A run with --resume writes the output's parts to FILE.partial.N, and beside it a manifest: a line of JSON for each file that is
// done, where its chunks lie in the part and what they were made of. A run takes over what earlier ones have of the same
// bytes and settings, whether they ended, were interrupted or crashed: their output, their parts. When all is written the
// part becomes FILE, its manifest FILE.manifest, and the other parts go.

// done is a line of a manifest. The key is a hash of all that the chunks follow from; the sum is a CRC-32C of their bytes,
// because after a crash of the machine a file may be shorter than its manifest says, or have other bytes.
type done struct {
	File   string `json:"file"`
	Key    string `json:"key,omitempty"` // empty for a file that failed
	Offset int64  `json:"offset"`
	Bytes  int64  `json:"bytes"`
	Sum    uint32 `json:"sum"`
	Chunks int64  `json:"chunks"`
	Text   int64  `json:"text_bytes"`
	Error  string `json:"error,omitempty"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// kept is what an earlier run has of one file.
type kept struct {
	done
	in *os.File
}

// resume is the state of a run with --resume. Only the goroutine that writes the output calls what changes it.
type resume struct {
	output   string
	settings string // all that chunks follow from beside a file's bytes and name
	earlier  map[string]kept
	sources  []*os.File
	old      []string // names that go when all is written

	part, manifest *os.File
	at, whole      int64 // how far the part is written, and how far with files that are whole
	file           done  // that is being written, its offset and sum so far
}

// openResume finds what earlier runs have left for an output, and begins a part.
func openResume(output, settings string) (_ *resume, err error) {
	r := &resume{output: output, settings: settings, earlier: map[string]kept{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	beside, err := os.ReadDir(filepath.Dir(output))
	if err != nil {
		return nil, err
	}
	if err := r.load(output); err != nil {
		return nil, err
	}
	number := 1
	for _, e := range beside {
		rest, ok := strings.CutPrefix(e.Name(), filepath.Base(output)+".partial.")
		n, err := strconv.Atoi(rest)
		if !ok || err != nil {
			continue // a manifest
		}
		number = max(number, n+1)
		if err := r.load(output + ".partial." + rest); err != nil {
			return nil, err
		}
	}
	name := fmt.Sprintf("%s.partial.%d", output, number)
	if r.part, err = os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644); err != nil {
		return nil, err
	}
	if r.manifest, err = os.OpenFile(name+".manifest", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644); err != nil {
		return r, errors.Join(err, os.Remove(name)) // it is empty
	}
	return r, nil
}

// load reads the manifest of an earlier output or part, if there is one. A line that is cut off is the last.
func (r *resume) load(name string) error {
	if name != r.output {
		r.old = append(r.old, name, name+".manifest")
	}
	manifest, err := os.ReadFile(name + ".manifest")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	in, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	r.sources = append(r.sources, in)
	for line := range bytes.Lines(manifest) {
		var d done
		if json.Unmarshal(line, &d) != nil {
			break
		}
		if d.Key != "" {
			r.earlier[d.Key] = kept{d, in}
		}
	}
	return nil
}

// key names what a file's chunks follow from.
func (r *resume) key(path string, source []byte) string {
	bytes := sha256.Sum256(source)
	all := sha256.Sum256(fmt.Appendf(nil, "%x\n%s\n%s", bytes, path, r.settings))
	return hex.EncodeToString(all[:])
}

// find gives the chunks that an earlier run has under a key, if they are still what they were.
func (r *resume) find(key string) (kept, bool) {
	k, ok := r.earlier[key]
	if !ok {
		return k, false
	}
	sum := crc32.New(castagnoli)
	n, err := io.Copy(sum, io.NewSectionReader(k.in, k.Offset, k.Bytes))
	return k, err == nil && n == k.Bytes && sum.Sum32() == k.Sum
}

// Write is for what belongs to no file: what the format has around and between them.
func (r *resume) Write(b []byte) (int, error) {
	n, err := r.part.Write(b)
	r.at += int64(n)
	return n, err
}

// begin says whose bytes are next.
func (r *resume) begin(path string) { r.file = done{File: path, Offset: -1} }

// write adds to the file that begin named: between comes from the format and is not the file's if it is before its first byte.
func (r *resume) write(between string, b []byte) error {
	if r.file.Offset < 0 {
		if _, err := io.WriteString(r, between); err != nil {
			return err
		}
		r.file.Offset, between = r.at, ""
	}
	for _, piece := range [][]byte{[]byte(between), b} {
		if _, err := r.Write(piece); err != nil {
			return err
		}
		r.file.Sum = crc32.Update(r.file.Sum, castagnoli, piece)
	}
	return nil
}

// end writes the manifest's line of the file; a key that is empty marks it as one to be tried again.
func (r *resume) end(key string, chunks, text int64, failure error) error {
	if r.file.Offset < 0 {
		r.file.Offset = r.at
	}
	r.file.Key, r.file.Bytes, r.file.Chunks, r.file.Text = key, r.at-r.file.Offset, chunks, text
	if failure != nil {
		r.file.Key, r.file.Error = "", failure.Error()
	}
	line, err := json.Marshal(r.file)
	if err != nil {
		return err
	}
	r.whole = r.at
	_, err = r.manifest.Write(append(line, '\n'))
	return err
}

// commit makes the part the output when all is written. Otherwise the part stays, up to the last file that is whole.
func (r *resume) commit(all bool) error {
	if !all {
		return errors.Join(r.part.Truncate(r.whole), r.close())
	}
	// The manifest goes first, for a moment without its output: then a key finds nothing, instead of bytes of another run.
	err := errors.Join(r.part.Sync(), r.manifest.Sync())
	part, manifest := r.part.Name(), r.manifest.Name()
	if err = errors.Join(err, r.close()); err != nil {
		return err
	}
	if err := os.Rename(manifest, r.output+".manifest"); err != nil {
		return err
	}
	if err := os.Rename(part, r.output); err != nil {
		return err
	}
	for _, name := range r.old {
		if rerr := os.Remove(name); !errors.Is(rerr, os.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}

func (r *resume) close() (err error) {
	for _, f := range append(r.sources, r.part, r.manifest) {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// copyKept sends what an earlier run has of a file, in pieces that belong together.
func copyKept(k kept, send func(block) error) error {
	in := bufio.NewReaderSize(io.NewSectionReader(k.in, k.Offset, k.Bytes), 64<<10)
	for left := k.Bytes; left > 0; {
		b := make([]byte, min(blockSize, left))
		if _, err := io.ReadFull(in, b); err != nil {
			return fmt.Errorf("%s: %w", k.in.Name(), err)
		}
		if err := send(block{b, left < k.Bytes}); err != nil {
			return err
		}
		left -= int64(len(b))
	}
	return nil
}
