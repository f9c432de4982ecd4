package processes

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// users are the names of /etc/passwd. Other sources of names are not asked: they may wait for a network.
type users struct {
	mu      sync.Mutex
	changed time.Time
	names   map[int]string
}

// name is the name of a user; empty: the file has none.
func (u *users) name(path string, uid int) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if info, err := os.Stat(path); err == nil && !info.ModTime().Equal(u.changed) {
		u.changed, u.names = info.ModTime(), readUsers(path)
	}
	return u.names[uid]
}

func readUsers(path string) map[int]string {
	names := make(map[int]string)
	text, err := readUpTo(path, 4<<20)
	if err != nil {
		return names
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(line, ":")
		if len(fields) < 3 {
			continue
		}
		if uid, err := strconv.Atoi(fields[2]); err == nil && names[uid] == "" { // the first of several, as getpwuid
			names[uid] = fields[0]
		}
	}
	return names
}
