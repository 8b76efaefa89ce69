package store_test

import (
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chunkstream/event"
	"chunkstream/store"
)

// TestLogTailDamaged: a power cut may leave any part of the log's tail unwritten, or garbage in its place. Wherever that is, the
// database opens, is sound, and holds exactly the transactions before it: nothing of a later one, and every one whose call had
// returned.
func TestLogTailDamaged(t *testing.T) {
	t.Parallel()
	const texts = 4
	cfg := onSQLite(t)
	s := openAt(t, cfg)
	base := read(t, cfg.Path)
	var acked []int // how many transactions the log had after each call
	call := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		ends, _ := commits(t, read(t, cfg.Path+"-wal"))
		acked = append(acked, len(ends))
	}
	for i := range texts {
		text := strings.Repeat(fmt.Sprintf("Text %d has words. ", i), 40)
		staged, err := s.Stage(t.Context(), owner, strings.NewReader(text), 1<<20)
		call(err)
		made, err := s.Create(t.Context(), store.NewOperation{Owner: owner, Staged: staged, Strategy: "recursive", Settings: []byte(`{}`), SplitterVersion: version})
		call(err)
		run := claim(t, s, store.Small)
		call(nil)
		all := cut(0, text, 100)
		for n := range 2 {
			_, err := run.Commit(t.Context(), store.Batch{First: int64(n), Chunks: all[n : n+1], BytesDone: all[n].EndByte})
			call(err)
		}
		switch i % 4 {
		case 0:
			_, err = run.Commit(t.Context(), store.Batch{First: 2, Chunks: all[2:], BytesDone: int64(len(text)), Last: true})
		case 1:
			_, err = run.HandOver(t.Context())
			call(err)
			_, _, err = s.Cancel(t.Context(), owner, made.Operation.ID)
		case 2:
			_, err = run.Crash(t.Context(), event.Failure{Code: "x", Detail: "y"}, time.Hour)
		}
		call(err)
	}
	log := read(t, cfg.Path+"-wal")
	if string(read(t, cfg.Path)) != string(base) {
		t.Fatal("the log has been copied back already")
	}
	ends, frame := commits(t, log)
	if n := acked[len(acked)-1]; n != len(ends) || n < 4*texts {
		t.Fatalf("the log has %d transactions, %d when the last call returned", len(ends), n)
	}

	// reopen gives what the database holds that a power cut left.
	reopen := func(log []byte, thorough bool) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "a.db")
		if err := errors.Join(os.WriteFile(path, base, 0o600), os.WriteFile(path+"-wal", log, 0o600)); err != nil {
			t.Fatal(err)
		}
		if thorough {
			left, err := store.Open(t.Context(), store.Config{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			sound(t, left, false)
			defer func() {
				if err := left.Close(); err != nil {
					t.Error(err)
				}
			}()
		}
		return dump(t, path)
	}
	states := make([]string, len(ends)+1)
	for n := range states {
		whole := 0
		if n > 0 {
			whole = ends[n-1]
		}
		states[n] = reopen(log[:whole], false)
		if n > 0 && states[n] == states[n-1] {
			t.Fatalf("transaction %d changes nothing", n)
		}
	}
	seed := rand.Uint64()
	chance := rand.New(rand.NewPCG(seed, 0))
	for range tailDamages {
		at := chance.IntN(len(log))
		if chance.IntN(4) == 0 { // at an edge of a frame, or beside it
			at = min(max(32+(at-32)/frame*frame+chance.IntN(3)-1, 0), len(log)-1)
		}
		damaged := append([]byte{}, log...)
		how := "cut"
		switch chance.IntN(4) {
		case 0:
			damaged = damaged[:at]
		case 1:
			how = "zeroed"
			clear(damaged[at:])
		case 2:
			how = "garbled"
			for i := at; i < len(damaged); i++ {
				damaged[i] = byte(chance.Uint32())
			}
		case 3: // sectors are written in any order
			how = "lacking a sector"
			clear(damaged[at:min(at+512, len(damaged))])
		}
		for at < len(log) && at < len(damaged) && damaged[at] == log[at] { // the damage begins where it changes something
			at++
		}
		n := 0
		for n < len(ends) && ends[n] <= at {
			n++
		}
		if got := reopen(damaged, true); got != states[n] {
			t.Errorf("seed %d: a log of %d bytes %s from %d on: not what its first %d transactions make", seed, len(log), how, at, n)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// commits gives where each transaction of a log ends, and how long a frame is (sqlite.org/fileformat2.html, section 4.1). It
// trusts the checksums.
func commits(t *testing.T, log []byte) (ends []int, frame int) {
	t.Helper()
	if len(log) < 32 {
		return nil, 0
	}
	frame = 24 + int(binary.BigEndian.Uint32(log[8:]))
	for at := 32; at+frame <= len(log); at += frame {
		if string(log[at+8:at+16]) != string(log[16:24]) {
			t.Fatal("the log has been started over")
		}
		if binary.BigEndian.Uint32(log[at+4:]) != 0 {
			ends = append(ends, at+frame)
		}
	}
	return ends, frame
}

// dump checks a database's integrity and gives a digest of its rows.
func dump(t *testing.T, path string) string {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var ok string
	if err := db.QueryRowContext(t.Context(), `PRAGMA integrity_check`).Scan(&ok); err != nil || ok != "ok" {
		t.Fatalf("integrity: %q, %v", ok, err)
	}
	tables, err := db.QueryContext(t.Context(), `SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name`)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for tables.Next() {
		var name string
		if err := tables.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := tables.Err(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	for _, name := range names {
		fmt.Fprintln(sum, name)
		rows, err := db.QueryContext(t.Context(), `SELECT * FROM "`+name+`"`)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		row, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(sum, "%q\n", row)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}
