package main

import (
	"encoding/binary"
	"io"
	"sync"

	"chunkstream/export"
)

// parquetFormat lets files that are cut side by side end up in one Parquet file, which is written record by record: what a
// file hands on are the numbers of its records, and what is written are the records with these numbers.
type parquetFormat struct {
	file *export.Parquet

	mu      sync.Mutex
	waiting map[uint64]*export.Record
	next    uint64
}

func newParquetFormat(w io.Writer) *parquetFormat {
	return &parquetFormat{file: export.NewParquet(w), waiting: map[uint64]*export.Record{}}
}

// Open, Between and Close are nothing: the file's own are written by it.
func (*parquetFormat) Open() string    { return "" }
func (*parquetFormat) Between() string { return "" }
func (*parquetFormat) Close() string   { return "" }

// Append keeps a copy of the record and adds its number.
func (p *parquetFormat) Append(b []byte, r *export.Record) ([]byte, error) {
	kept := *r
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++
	p.waiting[p.next] = &kept
	return binary.BigEndian.AppendUint64(b, p.next), nil
}

// Write writes the records with the numbers in b.
func (p *parquetFormat) Write(b []byte) (int, error) {
	for at := 0; at < len(b); at += 8 {
		number := binary.BigEndian.Uint64(b[at:])
		p.mu.Lock()
		r := p.waiting[number]
		delete(p.waiting, number)
		p.mu.Unlock()
		if err := p.file.Write(r); err != nil {
			return at, err
		}
	}
	return len(b), nil
}
