package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"chunkstream/files"
)

// settle is how long nothing may change before a change is acted on: editors and git write a file in several steps.
const settle = 200 * time.Millisecond

// watch writes what was found, and again when it changes, until ctx ends. Without -o only chunks of files that changed are
// written again. What goes wrong with a file is told and does not end it.
func (c *chunkCmd) watch(ctx context.Context, write func([]files.File) error) (err error) {
	found, err := c.find()
	if err != nil {
		return err
	}
	if found[0].Path == "-" {
		return &exitError{exitUsage, errors.New("--watch: standard input does not change"), "give a file or a folder"}
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("--watch: %w", err)
	}
	defer func() { err = errors.Join(err, watcher.Close()) }()
	folders := map[string]bool{}
	c.folder = func(path string) { folders[path] = true }
	seen := map[string]os.FileInfo{}
	for {
		// Every folder is watched before its files are read, so that no change falls in between.
		if found, err = c.find(); err == nil {
			for _, f := range found {
				folders[filepath.Dir(f.Path)] = true
			}
			for _, folder := range watcher.WatchList() {
				delete(folders, folder)
			}
			for folder := range folders {
				if err := watcher.Add(folder); err != nil {
					return fmt.Errorf("--watch %s: %w", folder, err)
				}
			}
			if len(folders) > 0 {
				clear(folders)
				continue
			}
			err = write(c.changed(found, seen))
		}
		if err != nil && ctx.Err() == nil {
			fmt.Fprintln(c.stderr, "chunkstream:", err)
		}
		if err := c.await(ctx, watcher); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// changed gives all files when there is an output to keep whole, else those that are not as they were seen.
func (c *chunkCmd) changed(found []files.File, seen map[string]os.FileInfo) (changed []files.File) {
	for _, f := range found {
		now, err := os.Stat(f.Path)
		before := seen[f.Path]
		seen[f.Path] = now
		if c.Output != "" || err != nil || before == nil || !before.ModTime().Equal(now.ModTime()) || before.Size() != now.Size() {
			changed = append(changed, f)
		}
	}
	return changed
}

// await returns when something has changed and then nothing for a while, or when ctx ends.
func (c *chunkCmd) await(ctx context.Context, watcher *fsnotify.Watcher) error {
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-quiet.C:
			return nil
		case e, ok := <-watcher.Events:
			if !ok {
				return nil
			}
			if !e.Has(fsnotify.Chmod) && !c.ours(e.Name) {
				quiet.Reset(settle)
			}
		case err, ok := <-watcher.Errors:
			if !ok {
				return nil
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) { // too many changes to name: look at everything
				return fmt.Errorf("--watch: %w", err)
			}
			quiet.Reset(settle)
		}
	}
}

// ours reports whether a file is the output, or one beside it that we write.
func (c *chunkCmd) ours(path string) bool {
	if c.Output == "" {
		return false
	}
	a, aerr := filepath.Abs(path)
	b, berr := filepath.Abs(c.Output)
	rest, ok := strings.CutPrefix(a, b)
	return aerr == nil && berr == nil && ok && (rest == "" || rest == ".manifest" || strings.HasPrefix(rest, ".partial."))
}
