package records

import "strings"

// FilePrefix leads the files that all servers of a store have in common: the text of each, as it is.
const FilePrefix = "file/"

// CopyingKey is there while records are being copied into a store, which nobody may serve from: what they are copied
// from (plain text).
const CopyingKey = "copying"

// FileKey is the key of a shared file of that name, which has slashes between its parts.
func FileKey(name string) string { return FilePrefix + name }

// FileOf is the name of the shared file whose key this is.
func FileOf(key string) (string, bool) { return strings.CutPrefix(key, FilePrefix) }
