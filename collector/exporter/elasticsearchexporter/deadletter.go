package elasticsearchexporter

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	deadLetterVariable  = "KAIZEN_OTEL_DEAD_LETTER_DIR"
	deadLetterDirectory = "/var/lib/kaizen-otel/dead-letter"

	// deadLetterBytesMax bounds one file, deadLetterFilesMax their number, so that all of them
	// together stay under 640 MiB (or one document, if it is larger than a file).
	deadLetterBytesMax = 64 << 20
	deadLetterFilesMax = 10

	rotatedTime = "20060102T150405.000000000Z"
)

// deadLetter is one document that is not in the store, and why.
type deadLetter struct {
	Time     time.Time       `json:"time"`
	Reason   string          `json:"reason"`
	Status   int             `json:"status"`
	Error    json.RawMessage `json:"error,omitempty"`
	Index    string          `json:"index"`
	ID       string          `json:"id"`
	Document json.RawMessage `json:"document"`
}

// syncFile is what the dead-letter file needs of an open file; tests pass one that fails.
type syncFile interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

// deadLetterFile appends dead letters to a file of its own: readable by the owner only, one JSON
// object a line, on disk before write returns, rotated, and bounded by removing the oldest.
type deadLetterFile struct {
	directory string
	stem      string
	bytesMax  int64
	filesMax  int
	now       func() time.Time
	open      func(path string) (syncFile, error)
	removed   func(documents int64)

	mutex sync.Mutex
	file  syncFile
	size  int64
}

var unsafeInName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

func newDeadLetterFile(component string, removed func(documents int64)) *deadLetterFile {
	directory := os.Getenv(deadLetterVariable)
	if directory == "" {
		directory = deadLetterDirectory
	}
	return &deadLetterFile{
		directory: directory,
		stem:      unsafeInName.ReplaceAllString(component, "-"),
		bytesMax:  deadLetterBytesMax,
		filesMax:  deadLetterFilesMax,
		now:       time.Now,
		open:      openForAppend,
		removed:   removed,
	}
}

// prepare makes the folder and opens the file, so that a folder that cannot be written is known at
// the start and not when the first document needs it.
func (d *deadLetterFile) prepare() error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if err := os.MkdirAll(d.directory, 0o700); err != nil {
		return fmt.Errorf("no folder for dead letters: %w; set %s to one that this process may write",
			err, deadLetterVariable)
	}
	return d.ensureOpen()
}

// write appends the letters and has them on disk when it returns nil. After an error none of them
// counts as written.
func (d *deadLetterFile) write(letters []deadLetter) error {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	for _, letter := range letters {
		if err := encoder.Encode(letter); err != nil {
			return fmt.Errorf("dead letter: %w", err)
		}
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if err := d.ensureOpen(); err != nil {
		return err
	}
	if d.size > 0 && d.size+int64(buffer.Len()) > d.bytesMax {
		if err := d.rotate(); err != nil {
			return err
		}
	}
	return d.append(buffer.Bytes())
}

func (d *deadLetterFile) append(content []byte) error {
	_, err := d.file.Write(content)
	if err == nil {
		err = d.file.Sync()
	}
	if err != nil {
		// After a failed sync the kernel may have dropped the pages and says nothing the next time,
		// so this descriptor is not trusted again; the part that was written is cut off.
		err = errors.Join(err, d.file.Truncate(d.size), d.file.Close())
		d.file = nil
		return fmt.Errorf("dead letters were not written to %s: %w", d.path(), err)
	}
	d.size += int64(len(content))
	return nil
}

func (d *deadLetterFile) close() error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.file == nil {
		return nil
	}
	err := d.file.Close()
	d.file = nil
	return err
}

func (d *deadLetterFile) path() string {
	return filepath.Join(d.directory, d.stem+".jsonl")
}

func (d *deadLetterFile) ensureOpen() error {
	if d.file != nil {
		return nil
	}
	size, torn, err := inspect(d.path())
	if err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	file, err := d.open(d.path())
	if err != nil {
		return fmt.Errorf("dead letters: %w; set %s to a folder that this process may write",
			err, deadLetterVariable)
	}
	// The name of a new file must survive a power cut too.
	if err := syncDirectory(d.directory); err != nil {
		return fmt.Errorf("dead letters: %w", errors.Join(err, file.Close()))
	}
	d.file, d.size = file, size
	if torn { // a crash ended the last line early: the next must not be glued to it
		return d.append([]byte("\n"))
	}
	return nil
}

func (d *deadLetterFile) rotate() error {
	if err := d.file.Close(); err != nil {
		d.file = nil
		return fmt.Errorf("dead letters: %w", err)
	}
	d.file = nil
	rotated := filepath.Join(
		d.directory, d.stem+"-"+d.now().UTC().Format(rotatedTime)+".jsonl")
	if err := os.Rename(d.path(), rotated); err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	if err := d.ensureOpen(); err != nil {
		return err
	}
	return d.removeOldest()
}

// removeOldest keeps the number of files; the documents in a removed one are lost, and counted.
func (d *deadLetterFile) removeOldest() error {
	rotated, err := d.rotated()
	if err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	for len(rotated) > d.filesMax-1 {
		lines, err := countLines(rotated[0])
		if err != nil {
			return fmt.Errorf("dead letters: %w", err)
		}
		if err := os.Remove(rotated[0]); err != nil {
			return fmt.Errorf("dead letters: %w", err)
		}
		d.removed(lines)
		rotated = rotated[1:]
	}
	return nil
}

// rotated lists the closed files of this exporter (and of no other), oldest first.
func (d *deadLetterFile) rotated() ([]string, error) {
	entries, err := os.ReadDir(d.directory) // sorted by name, which holds the time
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, entry := range entries {
		stamp, ours := strings.CutPrefix(strings.TrimSuffix(entry.Name(), ".jsonl"), d.stem+"-")
		if _, err := time.Parse(rotatedTime, stamp); ours && err == nil {
			paths = append(paths, filepath.Join(d.directory, entry.Name()))
		}
	}
	return paths, nil
}

func openForAppend(path string) (syncFile, error) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Chmod(0o600); err != nil { // it may have been there, open to others
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// inspect tells how long a file is and whether its last line has no end; a missing file is empty.
func inspect(path string) (size int64, torn bool, err error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	size, err = file.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return size, false, err
	}
	last := make([]byte, 1)
	_, err = file.ReadAt(last, size-1)
	return size, last[0] != '\n', err
}

func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}

func countLines(path string) (count int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	reader := bufio.NewReaderSize(file, 1<<20)
	for {
		part, readErr := reader.ReadSlice('\n')
		if len(part) > 0 && part[len(part)-1] == '\n' {
			count++
		}
		if errors.Is(readErr, io.EOF) {
			return count, nil
		}
		if readErr != nil && !errors.Is(readErr, bufio.ErrBufferFull) {
			return count, readErr
		}
	}
}
