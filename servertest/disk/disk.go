//go:build linux

// Package disk is a disk that fails: a file system of the kernel's own kind (FUSE) over a folder, which counts what is asked of
// it, and lets what it is told to fail, before it is carried out or after. It also knows what has been synced, and so what is
// left of it when the power is cut. For tests; it needs root and /dev/fuse.
package disk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// The kinds of operations: what the kernel asks when a program opens, reads, writes, syncs … a file. Lookup is a name that
// is looked for, also on the way to another; Close is a close(2), which may be told of what went wrong before.
const (
	Lookup   = "lookup"
	Getattr  = "getattr"
	Setattr  = "setattr"
	Truncate = "truncate"
	Open     = "open"
	Create   = "create"
	Read     = "read" // of pages that the kernel has not: ahead of the program, and when that has failed once more
	Write    = "write"
	Fsync    = "fsync"
	Close    = "close"
	Opendir  = "opendir"
	Fsyncdir = "fsyncdir"
	Mkdir    = "mkdir"
	Unlink   = "unlink"
	Rmdir    = "rmdir"
	Rename   = "rename"
	Statfs   = "statfs"
)

// Fault says which operation fails and how. The zero value fails nothing.
type Fault struct {
	Kind  string // of operation; "" for any
	Path  string // pattern of path.Match for the path below the root, or for its last name if it has no slash; "" for any
	K     int    // the K-th such operation from now on, counted from 1
	After bool   // it is carried out, and fails all the same
	Ever  bool   // and so do all such after it
	Errno syscall.Errno
}

func (f Fault) String() string {
	when, how := "before", "once"
	if f.After {
		when = "after"
	}
	if f.Ever {
		how = "for ever"
	}
	return fmt.Sprintf("%s %d of %q, %s it, %s, %v", f.Kind, f.K, f.Path, when, how, f.Errno)
}

func (f Fault) matches(kind, name string) bool {
	if f.K == 0 || f.Kind != "" && f.Kind != kind {
		return false
	}
	if f.Path == "" {
		return true
	}
	one, _ := path.Match(f.Path, path.Base(name))
	other, _ := path.Match(f.Path, name)
	return one || other
}

// Disk is a mounted file system. Its methods may be called by any goroutine, at any time. Nobody in the process that has mounted it may
// use files below Root: who waits for the kernel there may keep the answer from being given. What is in Backing is the same.
type Disk struct {
	Root, Backing string

	server *fuse.Server
	memory memory

	mu     sync.Mutex
	fault  Fault
	at     int // operations that the fault matched
	bitten int
	last   string // that failed
	counts map[string]int
}

// Mount makes a disk in the folder dir, which has what is in the folder backing. The caller unmounts it.
func Mount(backing, dir string) (*Disk, error) {
	d := &Disk{Root: dir, Backing: backing, counts: map[string]int{}}
	if err := d.memory.begin(backing); err != nil {
		return nil, err
	}
	var st syscall.Stat_t
	if err := syscall.Stat(backing, &st); err != nil {
		return nil, fmt.Errorf("disk: %s: %w", backing, err)
	}
	data := &fs.LoopbackRoot{Path: backing, Dev: st.Dev}
	root := &node{LoopbackNode: &fs.LoopbackNode{RootData: data}, disk: d}
	data.RootNode = root
	// Nothing is remembered by the kernel but the pages of open files: with them SQLite can share memory.
	server, err := fs.Mount(dir, root, &fs.Options{MountOptions: fuse.MountOptions{
		DirectMountStrict: true, FsName: "disk", Name: "disk", DisableXAttrs: true, AllowOther: true, DisableReadDirPlus: true,
	}})
	if err != nil {
		return nil, fmt.Errorf("disk: %w (root and /dev/fuse are needed)", err)
	}
	d.server = server
	return d, nil
}

// Unmount ends the disk. It fails while a process has a file open below Root.
func (d *Disk) Unmount() error { return d.server.Unmount() }

// Fail sets the fault, instead of the one before.
func (d *Disk) Fail(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault, d.at, d.bitten, d.last = f, 0, 0, ""
}

// Heal ends the fault and gives how many operations have failed, and what the last was.
func (d *Disk) Heal() (bitten int, last string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	bitten, last = d.bitten, d.last
	d.fault, d.at, d.bitten, d.last = Fault{}, 0, 0, ""
	return bitten, last
}

// Bitten is how many operations have failed since Fail.
func (d *Disk) Bitten() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bitten
}

// Counts gives how many operations there were of each kind since it was called last.
func (d *Disk) Counts() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	counts := maps.Clone(d.counts)
	clear(d.counts)
	return counts
}

// do carries out an operation, unless it fails before it.
func (d *Disk) do(kind, name string, op func() syscall.Errno) syscall.Errno {
	d.mu.Lock()
	d.counts[kind]++
	f, bites := d.fault, false
	if f.matches(kind, name) {
		d.at++
		if bites = d.at == f.K || f.Ever && d.at > f.K; bites {
			d.bitten++
			d.last = kind + " " + name
		}
	}
	d.mu.Unlock()
	if bites && !f.After {
		return f.Errno
	}
	if errno := op(); errno != 0 || !bites {
		return errno
	}
	return f.Errno
}

// node is a file or folder.
type node struct {
	*fs.LoopbackNode
	disk *Disk
}

// WrapChild makes ours of what the package below makes.
func (n *node) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{ops.(*fs.LoopbackNode), n.disk}
}

func (n *node) name() string             { return n.Path(n.Root()) }
func (n *node) below(name string) string { return path.Join(n.name(), name) }
func (n *node) backing() string          { return filepath.Join(n.disk.Backing, n.name()) }

// Lookup finds a name in a folder.
func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (child *fs.Inode, errno syscall.Errno) {
	errno = n.disk.do(Lookup, n.below(name), func() syscall.Errno {
		child, errno = n.LoopbackNode.Lookup(ctx, name, out)
		return errno
	})
	return child, errno
}

// Getattr says how long a file is, and the like.
func (n *node) Getattr(ctx context.Context, f fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return n.disk.do(Getattr, n.name(), func() syscall.Errno {
		if h, ok := f.(*handle); ok {
			return h.attr(&out.Attr)
		}
		return n.LoopbackNode.Getattr(ctx, f, out)
	})
}

// Setattr sets it.
func (n *node) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	size, truncates := in.GetSize()
	kind := Setattr
	if truncates {
		kind = Truncate
	}
	return n.disk.do(kind, n.name(), func() syscall.Errno {
		h, open := f.(*handle)
		if !open {
			file, err := os.OpenFile(n.backing(), os.O_RDONLY, 0)
			if err != nil {
				return fs.ToErrno(err)
			}
			defer file.Close()
			h = &handle{File: file}
		}
		if mode, ok := in.GetMode(); ok {
			if err := h.Chmod(os.FileMode(mode & 0o777)); err != nil {
				return fs.ToErrno(err)
			}
		}
		if truncates {
			cut := func() error { return os.Truncate(n.backing(), int64(size)) }
			if open {
				cut = func() error { return h.File.Truncate(int64(size)) }
			}
			if err := n.disk.memory.truncate(h.File, int64(size), cut); err != nil {
				return fs.ToErrno(err)
			}
		}
		return h.attr(&out.Attr)
	})
}

// Open opens a file that is there.
func (n *node) Open(_ context.Context, flags uint32) (h fs.FileHandle, _ uint32, errno syscall.Errno) {
	errno = n.disk.do(Open, n.name(), func() syscall.Errno {
		file, err := os.OpenFile(n.backing(), int(flags)&^(syscall.O_APPEND|syscall.O_TRUNC|syscall.O_CREAT|syscall.O_EXCL), 0)
		if err != nil {
			return fs.ToErrno(err)
		}
		if flags&syscall.O_TRUNC != 0 {
			if err := n.disk.memory.truncate(file, 0, func() error { return file.Truncate(0) }); err != nil {
				return fs.ToErrno(errors.Join(err, file.Close()))
			}
		}
		h = &handle{file}
		return 0
	})
	return n.given(h, errno)
}

// given closes a file that was opened for somebody who is told that it was not.
func (n *node) given(h fs.FileHandle, errno syscall.Errno) (fs.FileHandle, uint32, syscall.Errno) {
	if file, ok := h.(*handle); ok && errno != 0 {
		_ = file.File.Close() // it was not written to
		h = nil
	}
	return h, 0, errno
}

// Create makes a file and opens it.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (child *fs.Inode, h fs.FileHandle, _ uint32, errno syscall.Errno) {
	errno = n.disk.do(Create, n.below(name), func() syscall.Errno {
		full := filepath.Join(n.backing(), name)
		file, err := n.disk.memory.create(func() (*os.File, error) {
			return os.OpenFile(full, int(flags)&^(syscall.O_APPEND)|os.O_CREATE, os.FileMode(mode&0o777))
		})
		if err != nil {
			return fs.ToErrno(err)
		}
		h = &handle{file}
		child, errno = n.LoopbackNode.Lookup(ctx, name, out)
		return errno
	})
	h, _, errno = n.given(h, errno)
	return child, h, 0, errno
}

// Read reads.
func (n *node) Read(_ context.Context, f fs.FileHandle, dest []byte, off int64) (result fuse.ReadResult, errno syscall.Errno) {
	errno = n.disk.do(Read, n.name(), func() syscall.Errno {
		read, err := syscall.Pread(int(f.(*handle).Fd()), dest, off)
		result = fuse.ReadResultData(dest[:max(read, 0)])
		return fs.ToErrno(err)
	})
	return result, errno
}

// Write writes.
func (n *node) Write(_ context.Context, f fs.FileHandle, data []byte, off int64) (written uint32, errno syscall.Errno) {
	errno = n.disk.do(Write, n.name(), func() syscall.Errno {
		got, err := n.disk.memory.write(f.(*handle).File, data, off)
		written = uint32(got)
		return fs.ToErrno(err)
	})
	return written, errno
}

// Fsync syncs a file. When it fails before that, what was written is lost for good, as on Linux: it can still be read, and no
// later sync writes it.
func (n *node) Fsync(_ context.Context, f fs.FileHandle, _ uint32) syscall.Errno {
	synced := false
	errno := n.disk.do(Fsync, n.name(), func() syscall.Errno {
		synced = true
		return fs.ToErrno(n.disk.memory.sync(f.(*handle).File))
	})
	if !synced {
		n.disk.memory.lose(f.(*handle).File)
	}
	return errno
}

// Flush is a close.
func (n *node) Flush(context.Context, fs.FileHandle) syscall.Errno {
	return n.disk.do(Close, n.name(), func() syscall.Errno { return 0 })
}

// Release is when nobody has a file open any more.
func (n *node) Release(_ context.Context, f fs.FileHandle) syscall.Errno {
	if h, ok := f.(*handle); ok {
		return fs.ToErrno(h.File.Close())
	}
	return 0
}

// OpendirHandle opens a folder to be read.
func (n *node) OpendirHandle(ctx context.Context, flags uint32) (h fs.FileHandle, _ uint32, errno syscall.Errno) {
	errno = n.disk.do(Opendir, n.name(), func() syscall.Errno {
		h, _, errno = n.LoopbackNode.OpendirHandle(ctx, flags)
		return errno
	})
	if stream, ok := h.(stream); ok && errno == 0 {
		return &folder{stream, n}, 0, 0
	}
	return nil, 0, errno
}

// stream is a folder that is read, as the package below makes it.
type stream interface {
	fs.FileReaddirenter
	fs.FileSeekdirer
	fs.FileReleasedirer
}

type folder struct {
	stream
	node *node
}

// Fsyncdir syncs the names in a folder.
func (f *folder) Fsyncdir(context.Context, uint32) syscall.Errno {
	return f.node.disk.do(Fsyncdir, f.node.name(), func() syscall.Errno { return fs.ToErrno(f.node.disk.memory.syncFolder(f.node.name())) })
}

// Mkdir makes a folder.
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (child *fs.Inode, errno syscall.Errno) {
	errno = n.disk.do(Mkdir, n.below(name), func() syscall.Errno {
		child, errno = n.LoopbackNode.Mkdir(ctx, name, mode, out)
		return errno
	})
	return child, errno
}

// Unlink removes a file's name.
func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	return n.disk.do(Unlink, n.below(name), func() syscall.Errno { return n.LoopbackNode.Unlink(ctx, name) })
}

// Rmdir removes a folder.
func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	return n.disk.do(Rmdir, n.below(name), func() syscall.Errno { return n.LoopbackNode.Rmdir(ctx, name) })
}

// Rename gives a file another name.
func (n *node) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	return n.disk.do(Rename, to.(*node).below(newName), func() syscall.Errno {
		from, to := filepath.Join(n.backing(), name), filepath.Join(to.(*node).backing(), newName)
		return fs.ToErrno(unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, uint(flags)))
	})
}

// Statfs says how much room there is.
func (n *node) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	return n.disk.do(Statfs, n.name(), func() syscall.Errno { return n.LoopbackNode.Statfs(ctx, out) })
}

// handle is an open file of the folder below.
type handle struct{ *os.File }

func (h *handle) attr(out *fuse.Attr) syscall.Errno {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(h.Fd()), &st); err != nil {
		return fs.ToErrno(err)
	}
	out.FromStat(&st)
	return 0
}
