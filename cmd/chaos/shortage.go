package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// disk is a file system of the run's own, for the data and the temporary files of all processes. How much it takes can be
// changed while it is in use. It needs root.
type disk struct {
	c    *chaos
	path string
}

const roomy = "8g"

func newDisk(c *chaos) (*disk, error) {
	d := &disk{c: c, path: filepath.Join(c.cfg.folder, "disk")}
	if err := os.MkdirAll(d.path, 0o777); err != nil {
		return nil, err
	}
	if err := d.mount("-t", "tmpfs", "-o", "size="+roomy, "tmpfs", d.path); err != nil {
		return nil, fmt.Errorf("%w: --disk needs root", err)
	}
	c.host.Cleanup(func() {
		if out, err := exec.Command("umount", d.path).CombinedOutput(); err != nil {
			c.violate("umount: %v: %s", err, out)
		}
	})
	return d, os.Chmod(d.path, 0o777)
}

func (d *disk) mount(args ...string) error {
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("mount %v: %w: %s", args, err, out)
	}
	return nil
}

func (d *disk) resize(size string) error { return d.mount("-o", "remount,size="+size, d.path) }

// fill leaves no room on the disk, for as long as it says. It has bitten when the database told that it has none.
func (d *disk) fill(ctx context.Context, hold time.Duration) outcome {
	c := d.c
	before := c.said("disk is full")
	var fs syscall.Statfs_t
	if err := syscall.Statfs(d.path, &fs); err != nil {
		return outcome{how: err.Error()}
	}
	used := (fs.Blocks - fs.Bfree) * uint64(fs.Bsize)
	if err := d.resize(fmt.Sprint(used + 128<<10)); err != nil {
		return outcome{how: err.Error()} // more was written meanwhile
	}
	felt := waits(ctx, func() bool { return c.said("disk is full") > before })
	pause(ctx, hold)
	if err := d.resize(roomy); err != nil {
		c.violate("%v", err)
	}
	return outcome{felt, fmt.Sprintf("processes said %d times that the disk is full", c.said("disk is full")-before)}
}

// said is how often the processes have written some words into their logs.
func (c *chaos) said(words string) (n int) {
	for _, p := range c.processes {
		n += p.said(words)
	}
	return n
}

// heard is how often some words are in the part of a log that was read.
type heard struct {
	read int64
	n    int
}

// said counts words in whole lines of the process's log. Each call reads only what is new since the one before.
func (p *process) said(words string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.heard[words]
	log, err := os.Open(p.log)
	if err != nil {
		return h.n
	}
	defer func() { _ = log.Close() }()
	text, err := io.ReadAll(io.NewSectionReader(log, h.read, 1<<62))
	if err != nil {
		return h.n
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	h.read += int64(len(text))
	h.n += bytes.Count(text, []byte(words))
	if p.heard == nil {
		p.heard = map[string]heard{}
	}
	p.heard[words] = h
	return h.n
}

// exhaust lets a process have no more files and connections than it has, for a while.
func (c *chaos) exhaust(ctx context.Context, p *process, f fault) outcome {
	const words = "too many open files"
	before := p.said(words)
	folder := fmt.Sprintf("/proc/%d/fd", p.pid())
	open, err := os.ReadDir(folder)
	if err != nil {
		return outcome{how: err.Error()}
	}
	was, err := p.limit(fmt.Sprint(len(open)))
	if err != nil {
		return outcome{how: err.Error()}
	}
	c.times.begin(p.name, time.Now())
	defer c.times.end(p.name)
	felt := waits(ctx, func() bool { return p.said(words) > before })
	pause(ctx, f.holds)
	if _, err := p.limit(was); err != nil && p.running() {
		c.violate("give %s its files back: %v", p.name, err)
	}
	return outcome{felt, fmt.Sprintf("it had %d files, and said %d times that it can have no more", len(open), p.said(words)-before)}
}

// limit sets the soft limit of a process's open files, and gives what it was.
func (p *process) limit(soft string) (was string, err error) {
	pid := fmt.Sprint(p.pid())
	out, err := exec.Command("prlimit", "--pid", pid, "--nofile", "--noheadings", "--output", "SOFT").Output()
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(out)), exec.Command("prlimit", "--pid", pid, "--nofile="+soft+":").Run()
}
