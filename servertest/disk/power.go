//go:build linux

package disk

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// memory knows what of the files would be there after the power was cut: of each file what was in it when it was synced last,
// of each folder the names that were in it when it was. What came since may be there, in part and in any order, or not.
type memory struct {
	mu      sync.Mutex
	backing string
	files   map[uint64]*image   // by the number that the system has for it
	folders map[string][]string // names that are synced, by folder; those of folders end in a slash
	names   map[string]*image   // what the synced names of files stand for
}

// image is a file.
type image struct {
	synced  []byte
	changes []change // since, in their order
}

// change is what was written at an offset, or to what length the file was cut if data is nil.
type change struct {
	data []byte
	at   int64
}

func (c change) apply(b []byte) []byte {
	if c.data == nil {
		if c.at <= int64(len(b)) {
			return b[:c.at]
		}
		return append(b, make([]byte, c.at-int64(len(b)))...)
	}
	if end := c.at + int64(len(c.data)); end > int64(len(b)) {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	copy(b[c.at:], c.data)
	return b
}

// begin takes what is there as synced.
func (m *memory) begin(backing string) error {
	m.backing, m.files, m.folders, m.names = backing, map[uint64]*image{}, map[string][]string{}, map[string]*image{}
	return filepath.WalkDir(backing, func(full string, e iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(backing, full)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return m.folder(name)
		}
		return nil
	})
}

func number(f interface{ Fd() uintptr }) (uint64, error) {
	var st syscall.Stat_t
	err := syscall.Fstat(int(f.Fd()), &st)
	return st.Ino, err
}

// of is the image of an open file: what is not known yet was there before, and synced.
func (m *memory) of(f *os.File) (*image, error) {
	n, err := number(f)
	if err != nil {
		return nil, err
	}
	if m.files[n] == nil {
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		if err != nil {
			return nil, err
		}
		m.files[n] = &image{synced: b}
	}
	return m.files[n], nil
}

func (m *memory) create(open func() (*os.File, error)) (*os.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, err := open()
	if err != nil {
		return nil, err
	}
	n, err := number(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	m.files[n] = &image{} // a number may be one that a file had which is gone
	return f, nil
}

func (m *memory) write(f *os.File, data []byte, at int64) (n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, err := m.of(f)
	if err != nil {
		return 0, err
	}
	if n, err = syscall.Pwrite(int(f.Fd()), data, at); n > 0 {
		i.changes = append(i.changes, change{slices.Clone(data[:n]), at})
	}
	return max(n, 0), err
}

func (m *memory) truncate(f *os.File, size int64, cut func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, err := m.of(f)
	if err != nil {
		return err
	}
	if err = cut(); err == nil {
		i.changes = append(i.changes, change{at: size})
	}
	return err
}

func (m *memory) sync(f *os.File) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, err := m.of(f)
	if err != nil {
		return err
	}
	for _, c := range i.changes {
		i.synced = c.apply(i.synced)
	}
	i.changes = nil
	return nil
}

func (m *memory) lose(f *os.File) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i, err := m.of(f); err == nil {
		i.changes = nil
	}
}

func (m *memory) syncFolder(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.folder(name)
}

// folder takes the names in a folder as synced, and makes a note of what they stand for.
func (m *memory) folder(name string) error {
	entries, err := os.ReadDir(filepath.Join(m.backing, name))
	if err != nil {
		return err
	}
	key := path.Clean("./" + name)
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name()+"/")
			continue
		} else if !e.Type().IsRegular() {
			continue
		}
		names = append(names, e.Name())
		f, err := os.Open(filepath.Join(m.backing, name, e.Name()))
		if err != nil {
			return err
		}
		i, err := m.of(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		m.names[path.Join(key, e.Name())] = i
	}
	m.folders[key] = names
	return nil
}

// CutPower makes in the folder to, which must be empty, what a disk may have after the power was cut at this moment, whoever goes on using
// this one. Chance says which changes that were not synced are there: none of them if it is nil; else of each file some, each in whole or in part, in
// any order, and of each folder the names as they were synced or as they are.
func (d *Disk) CutPower(to string, chance *rand.Rand) error {
	m := &d.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.restore(".", to, chance)
}

func (m *memory) restore(key, to string, chance *rand.Rand) error {
	names, lookup := m.folders[key], m.names
	if chance != nil && chance.IntN(2) == 0 { // the names as they are
		now := memory{backing: m.backing, files: m.files, folders: map[string][]string{}, names: map[string]*image{}}
		if err := now.folder(key); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		names, lookup = now.folders[key], now.names
	}
	for _, name := range names {
		full := filepath.Join(to, name)
		if folder := path.Join(key, name); name[len(name)-1] == '/' {
			if err := os.Mkdir(full, 0o700); err != nil {
				return err
			}
			if err := m.restore(folder, full, chance); err != nil {
				return err
			}
			continue
		}
		if err := os.WriteFile(full, lookup[path.Join(key, name)].after(chance), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// sector is what a disk writes in whole or not at all, in bytes.
const sector = 512

// after is what is in a file once the power was cut.
func (i *image) after(chance *rand.Rand) []byte {
	if chance == nil {
		return i.synced
	}
	b := slices.Clone(i.synced)
	likely := []int{0, 5, 9, 10}[chance.IntN(4)] // of ten
	for _, c := range i.changes {
		switch {
		case c.data == nil:
			if chance.IntN(10) < likely {
				b = c.apply(b)
			}
		default:
			for at := 0; at < len(c.data); {
				end := min(len(c.data), at+sector-int(c.at+int64(at))%sector)
				if chance.IntN(10) < likely {
					b = change{c.data[at:end], c.at + int64(at)}.apply(b)
				}
				at = end
			}
		}
	}
	return b
}
