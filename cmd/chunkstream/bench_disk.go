package main

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// diskSyncs is how often diskSync syncs: enough for a 99th percentile.
const diskSyncs = 200

// diskSync measures what a durable commit cannot be faster than: 64 KiB appended to a file in a folder, and synced.
func diskSync(folder string) (_ *Spread, err error) {
	f, err := os.Create(filepath.Join(folder, "sync"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	block, took := make([]byte, 64<<10), make([]time.Duration, diskSyncs)
	for i := range took {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		took[i] = time.Since(start)
	}
	s := spread(took)
	return &s, nil
}
