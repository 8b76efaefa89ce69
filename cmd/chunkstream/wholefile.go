package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// wholeFile is a file that appears under its name whole, or not at all: it is written under another name beside it, synced,
// and renamed. Its errors name the file and not the other name.
type wholeFile struct {
	name string
	mode fs.FileMode
	temp *os.File
}

// newWholeFile begins one.
func newWholeFile(name string, mode fs.FileMode) (*wholeFile, error) {
	temp, err := os.CreateTemp(filepath.Dir(name), ".chunkstream-*")
	if err != nil {
		return nil, fmt.Errorf("%s cannot be made: %w", name, bare(err))
	}
	return &wholeFile{name, mode, temp}, nil
}

// bare leaves out the name of a file that nobody asked for.
func bare(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	} else if l, ok := errors.AsType[*os.LinkError](err); ok {
		return l.Err
	}
	return err
}

// Write adds to it.
func (w *wholeFile) Write(b []byte) (int, error) {
	n, err := w.temp.Write(b)
	if err != nil {
		err = fmt.Errorf("%s cannot be written: %w", w.name, bare(err))
	}
	return n, err
}

// keep gives it its name. After an error there is nothing new under it, and nothing beside it.
func (w *wholeFile) keep() error {
	err := w.temp.Sync()
	if err = errors.Join(err, w.temp.Close()); err == nil {
		err = os.Chmod(w.temp.Name(), w.mode)
	}
	if err == nil {
		err = os.Rename(w.temp.Name(), w.name)
	}
	if err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("%s cannot be written: %w", w.name, bare(err)), w.remove())
}

// remove removes what has not got its name. A rename may have been carried out and have failed all the same.
func (w *wholeFile) remove() error {
	if err := os.Remove(w.temp.Name()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// discard lets go of what was written.
func (w *wholeFile) discard() error { return errors.Join(w.temp.Close(), w.remove()) }
