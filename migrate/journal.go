package migrate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/openimds/openimds/safefile"
)

// Kind says what a record of the journal tells.
type Kind string

// The kinds. What is about to be done is written, and durable, before it is done; then that it was.
const (
	// Began: a plan is carried out from here on. Its text is in the record.
	Began Kind = "began"
	// Resumed: another process goes on with what a plan began.
	Resumed Kind = "resumed"
	// WaveBegan and WaveHeld: a wave, and that nobody was refused for as long as the plan says.
	WaveBegan Kind = "wave began"
	WaveHeld  Kind = "wave held"
	// Requiring and Required: tokens are about to be required of an instance, and are.
	Requiring Kind = "requiring"
	Required  Kind = "required"
	// Skipped: an instance is left as it is, and why.
	Skipped Kind = "skipped"
	// Returning and Returned: an instance gets back the options that it had, for somebody was refused.
	Returning Kind = "returning"
	Returned  Kind = "returned"
	// Tolerated: somebody was refused whom an exception puts up with.
	Tolerated Kind = "tolerated"
	// Stopped and Finished: the plan goes no further, or is done.
	Stopped  Kind = "stopped"
	Finished Kind = "finished"
	// UndoBegan: what was required is taken back from here on.
	UndoBegan Kind = "undo began"
	// Undoing and Undone: an instance gets back the options that it had, for the operator says so.
	Undoing Kind = "undoing"
	Undone  Kind = "undone"
	// Kept: what somebody else has changed of an instance since stays; After is what it has now.
	Kept Kind = "kept"
	// Gone: an instance of which tokens were required is not there any more.
	Gone         Kind = "gone"
	UndoFinished Kind = "undo finished"
	// Rehearsed: who would have been refused, or was for a while.
	Rehearsed Kind = "rehearsed"
)

// Record is one line of a journal.
type Record struct {
	// Number counts the lines from 1.
	Number int       `json:"n"`
	Time   time.Time `json:"time"`
	Kind   Kind      `json:"kind"`
	// By is who did it: the user and the machine.
	By string `json:"by,omitempty"`
	// Provider and Plan are of the plan that began: its text as it was then. Account and Regions are where.
	Provider string   `json:"provider,omitempty"`
	Account  string   `json:"account,omitempty"`
	Regions  []string `json:"regions,omitempty"`
	Plan     string   `json:"plan,omitempty"`
	Wave     string   `json:"wave,omitempty"`
	Instance *Ref     `json:"instance,omitempty"`
	// Before and After are the instance's options.
	Before *Options `json:"before,omitempty"`
	After  *Options `json:"after,omitempty"`
	// Since is when refusals begin to count, by the provider's clock.
	Since time.Time `json:"since,omitzero"`
	// Assessment is what an instance was required on.
	Assessment *Assessment `json:"assessment,omitempty"`
	Refusals   []Refusal   `json:"refusals,omitempty"`
	Reason     string      `json:"reason,omitempty"`
	// Exempt is the exception by which an instance is left as it is; nil: by none, or it was written before this was told apart.
	Exempt *Exempt `json:"exempt,omitempty"`
	// Details are what other kinds tell.
	Details json.RawMessage `json:"details,omitempty"`
	// Sum is of this line and all before it: a line that was changed, torn or taken out by mistake is found. It is no
	// signature: whoever may write the file can make the sums anew, and lines cut off at the end leave no trace.
	Sum string `json:"sum"`
}

// Exempt is what a journal tells of an exception.
type Exempt struct {
	Owner  string    `json:"owner"`
	Reason string    `json:"reason,omitempty"`
	Until  time.Time `json:"until"`
}

// ErrLocked means that another process has the journal.
var ErrLocked = errors.New("another process has the journal")

// Journal is the file of what was done, one JSON object on each line, only ever appended to. It is safe for
// use by many goroutines; one process at a time has it.
type Journal struct {
	mu      sync.Mutex
	file    *os.File
	path    string
	by      string
	now     func() time.Time
	records []Record
	sum     string
	broken  error // the last write failed: nobody knows what stands in the file
	told    func(Record)
	// Torn says that the last line was cut off when the journal was opened: a process ended while it wrote
	// what it then did not do.
	Torn bool
}

// OpenJournal opens a journal, or begins one if create says so, and keeps it for this process. By is who
// writes from here on.
//
// Errors: [ErrLocked]; fs.ErrNotExist; a line that was changed is named.
func OpenJournal(path string, create bool, by string) (*Journal, error) {
	flag := os.O_RDWR | os.O_APPEND
	if create {
		flag |= os.O_CREATE
	}
	f, err := safefile.Open(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	j := &Journal{file: f, path: path, by: by, now: time.Now, told: func(Record) {}}
	if err := j.begin(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return j, nil
}

func (j *Journal) begin() error {
	if err := lock(j.file); err != nil {
		return fmt.Errorf("%s: %w", j.path, err)
	}
	text, err := io.ReadAll(j.file)
	if err != nil {
		return err
	}
	whole := 0
	j.records, j.sum, whole, err = readRecords(text)
	if err != nil {
		return fmt.Errorf("%s: %w", j.path, err)
	}
	if j.Torn = whole < len(text); j.Torn {
		if err := j.file.Truncate(int64(whole)); err != nil {
			return err
		}
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	return safefile.SyncDirectory(filepath.Dir(j.path))
}

// ReadJournal reads a journal that another process may have.
func ReadJournal(path string) ([]Record, error) {
	f, err := safefile.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	records, _, _, err := readRecords(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return records, nil
}

// readRecords reads lines up to the last whole one: behind it is what a process that ended was writing.
func readRecords(text []byte) (records []Record, sum string, whole int, err error) {
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		var r Record
		err := json.Unmarshal(line, &r)
		if err == nil {
			err = r.check(line, len(records)+1, sum)
		}
		if err != nil {
			return nil, "", 0, fmt.Errorf("line %d is not what was written (%w): the journal was changed or the disk has failed; nothing is done on it", len(records)+1, err)
		}
		records, sum, whole = append(records, r), r.Sum, whole+len(line)
	}
	return records, sum, whole, nil
}

// check holds a line against its sum.
func (r Record) check(line []byte, number int, before string) error {
	if r.Number != number {
		return fmt.Errorf("it has the number %d", r.Number)
	}
	body, ok := bytes.CutSuffix(line, []byte(`,"sum":"`+r.Sum+"\"}\n"))
	if !ok || sumOf(before, body) != r.Sum {
		return errors.New("its sum is another")
	}
	return nil
}

// sumOf is the sum of a line, without its end, behind the lines before it.
func sumOf(before string, body []byte) string {
	h := sha256.New()
	_, _ = io.WriteString(h, before)
	_, _ = h.Write(body)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Add writes a record, and returns it as it is written, with Number, Time, By and Sum, when it is durable. After an error
// the journal takes nothing any more.
func (j *Journal) Add(r Record) (Record, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil {
		return r, j.broken
	}
	r.Number, r.Time, r.By, r.Sum = len(j.records)+1, j.now().UTC().Round(0), j.by, ""
	text, err := json.Marshal(r)
	if err != nil {
		return r, err
	}
	body := bytes.TrimSuffix(text, []byte(`,"sum":""}`))
	r.Sum = sumOf(j.sum, body)
	line := append(bytes.Clone(body), `,"sum":"`+r.Sum+"\"}\n"...)
	_, err = j.file.Write(line)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		j.broken = fmt.Errorf("the journal %s cannot be written, so nothing more is done: %w", j.path, err)
		return r, j.broken
	}
	j.records, j.sum = append(j.records, r), r.Sum
	j.told(r)
	return r, nil
}

// Err is why the journal takes nothing any more; nil: it does.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.broken
}

// Records are all there are.
func (j *Journal) Records() []Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.records[:len(j.records):len(j.records)]
}

// Tell has the function called with each record that is added, in their order, when it is durable.
func (j *Journal) Tell(told func(Record)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.told = told
}

// Close gives the journal to others.
func (j *Journal) Close() error { return j.file.Close() }

// JournalOf is where the journal of a plan is, unless somebody says otherwise.
func JournalOf(plan string) string { return plan + ".journal" }

// NoJournal says that there is none.
func NoJournal(err error) bool { return errors.Is(err, fs.ErrNotExist) }
