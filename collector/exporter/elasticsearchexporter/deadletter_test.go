package elasticsearchexporter

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func testDeadLetters(t *testing.T, removed *int64) *deadLetterFile {
	t.Helper()
	directory := filepath.Join(t.TempDir(), "dead")
	t.Setenv(deadLetterVariable, directory)
	d := newDeadLetterFile("elasticsearch/b", func(documents int64) { *removed += documents })
	now := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	d.now = func() time.Time {
		now = now.Add(time.Second)
		return now
	}
	must(t, d.prepare())
	t.Cleanup(func() { must(t, d.close()) })
	return d
}

func letter(number int) deadLetter {
	return deadLetter{ID: fmt.Sprint(number), Document: json.RawMessage(`{"x":1}`)}
}

func TestTheDeadLetterFileIsForTheOwnerOnly(t *testing.T) {
	var removed int64
	d := testDeadLetters(t, &removed)
	must(t, d.write([]deadLetter{letter(1)}))
	for path, want := range map[string]os.FileMode{d.path(): 0o600, d.directory: 0o700} {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
		}
	}
	if !strings.HasSuffix(d.path(), "/elasticsearch-b.jsonl") {
		t.Errorf("path %s", d.path())
	}
}

func TestAFileOpenToOthersIsClosedToThem(t *testing.T) {
	var removed int64
	d := testDeadLetters(t, &removed)
	must(t, d.close())
	must(t, os.Chmod(d.path(), 0o644))
	must(t, d.prepare())
	info, err := os.Stat(d.path())
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode().Perm())
	}
}

func TestFilesAreRotatedAndTheOldestIsRemovedAndCounted(t *testing.T) {
	var removed int64
	d := testDeadLetters(t, &removed)
	line, err := json.Marshal(letter(100))
	must(t, err)
	d.bytesMax, d.filesMax = int64(3*(len(line)+1)), 4
	// A neighbour whose name starts the same must not be counted or removed.
	neighbour := filepath.Join(d.directory, "elasticsearch-b-2.jsonl")
	must(t, os.WriteFile(neighbour, []byte("{}\n"), 0o600))

	for i := range 20 {
		must(t, d.write([]deadLetter{letter(100 + i)}))
	}
	must(t, os.Remove(neighbour))
	letters := deadLettersIn(t, d.directory)
	entries, err := os.ReadDir(d.directory)
	must(t, err)
	if len(entries) != 4 {
		t.Errorf("%d files, want 4", len(entries))
	}
	if int64(len(letters))+removed != 20 || removed != 9 {
		t.Errorf("%d letters and %d counted as removed, want 11 and 9", len(letters), removed)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		must(t, err)
		if info.Size() > d.bytesMax || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %d bytes, mode %v", entry.Name(), info.Size(), info.Mode().Perm())
		}
	}
}

func TestALetterLargerThanAFileIsStillWritten(t *testing.T) {
	var removed int64
	d := testDeadLetters(t, &removed)
	d.bytesMax = 10
	must(t, d.write([]deadLetter{letter(1), letter(2)}))
	if letters := deadLettersIn(t, d.directory); len(letters) != 2 {
		t.Errorf("%d letters, want 2", len(letters))
	}
}

func TestATornLastLineIsEndedBeforeTheNextLetter(t *testing.T) {
	var removed int64
	d := testDeadLetters(t, &removed)
	must(t, d.write([]deadLetter{letter(1)}))
	must(t, d.close())
	file, err := os.OpenFile(d.path(), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = file.WriteString(`{"id":"torn`)
	must(t, errors.Join(err, file.Close()))

	must(t, d.write([]deadLetter{letter(2)}))
	content, err := os.ReadFile(d.path())
	must(t, err)
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	if len(lines) != 3 || lines[1] != `{"id":"torn` || !strings.Contains(lines[2], `"id":"2"`) {
		t.Errorf("lines %q", lines)
	}
}

// failingFile does what it is told to on the k-th call.
type failingFile struct {
	syncFile
	calls  *int
	failOn int
	short  bool
}

func (f failingFile) Write(content []byte) (int, error) {
	*f.calls++
	if *f.calls != f.failOn {
		return f.syncFile.Write(content)
	}
	if f.short {
		n, _ := f.syncFile.Write(content[:len(content)/2])
		return n, errors.New("no space left on device")
	}
	return 0, errors.New("input/output error")
}

func (f failingFile) Sync() error {
	*f.calls++
	if *f.calls == f.failOn {
		return errors.New("input/output error")
	}
	return f.syncFile.Sync()
}

func TestNothingCountsAsWrittenUnlessWriteAndSyncSucceed(t *testing.T) {
	for _, short := range []bool{false, true} {
		for failOn := 1; failOn <= 6; failOn++ {
			var removed int64
			calls := 0
			d := testDeadLetters(t, &removed)
			must(t, d.close())
			d.open = func(path string) (syncFile, error) {
				file, err := openForAppend(path)
				return failingFile{file, &calls, failOn, short}, err
			}
			written := map[string]bool{}
			for i := range 3 {
				if d.write([]deadLetter{letter(i)}) == nil {
					written[fmt.Sprint(i)] = true
				}
			}
			letters := deadLettersIn(t, d.directory) // fails if a line is torn
			if len(written) != 2 || len(letters) != 2 {
				t.Errorf("call %d failed (short %v): %d of 3 counted as written, %d in the file",
					failOn, short, len(written), len(letters))
			}
			for _, each := range letters {
				if !written[each.ID] {
					t.Errorf("call %d: letter %s is in the file but was reported as not written",
						failOn, each.ID)
				}
			}
		}
	}
}
