package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
)

// makeFolder makes a folder for data, and those above it that are not there. Their names are synced: what is synced in the folder later
// would else be gone with it after a power cut.
func makeFolder(path string) error {
	var changed []string
	for at := filepath.Clean(path); ; at = filepath.Dir(at) {
		above := filepath.Dir(at)
		if _, err := os.Stat(at); !errors.Is(err, os.ErrNotExist) || above == at {
			break
		}
		changed = append(changed, above)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		return nil // where a folder cannot be synced
	}
	for _, name := range changed {
		folder, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
			return err
		}
	}
	return nil
}
