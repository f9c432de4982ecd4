package awsjson

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Epoch is a time on the wire: seconds since 1970 as a number with a fraction, to the millisecond.
// An ISO text would break the AWS SDK for Go.
type Epoch struct{ time.Time }

// At is that time on the wire.
func At(t time.Time) *Epoch { return &Epoch{t} }

// OrZero is the time, or no time where none was given.
func (e *Epoch) OrZero() time.Time {
	if e == nil {
		return time.Time{}
	}
	return e.Time
}

// MarshalJSON writes the seconds with three digits behind the point.
func (e Epoch) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(e.UnixMilli())/1000, 'f', 3, 64), nil
}

// The times that a request may name: the years that every form of a date can write.
const (
	firstSecond = -62135596800 // 0001-01-01
	lastSecond  = 253402300799 // 9999-12-31
)

// UnmarshalJSON reads what MarshalJSON writes, and what AWS does.
func (e *Epoch) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return nil
	}
	return e.readNumber(json.Number(text))
}

// readNumber takes an integer, a fraction or an exponent: clients send all three.
func (e *Epoch) readNumber(n json.Number) error {
	seconds, err := n.Float64()
	if err != nil || seconds < firstSecond || seconds > lastSecond {
		return errors.New("a timestamp is out of range")
	}
	whole, fraction := math.Modf(seconds)
	e.Time = time.Unix(int64(whole), int64(math.Round(fraction*1e3))*1e6).UTC()
	return nil
}

// Double is a number that AWS writes with a fraction even when it is whole.
type Double float64

// MarshalJSON writes 5 as 5.0.
func (d Double) MarshalJSON() ([]byte, error) {
	f := float64(d)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%v has no form in JSON", f)
	}
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.AppendFloat(nil, f, 'f', 1, 64), nil
	}
	return json.Marshal(f)
}

// Blob is binary data, in base64 on the wire.
type Blob []byte

func (b *Blob) readString(s string) error {
	data, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return errors.New("only base-64-encoded strings are convertible to bytes")
	}
	*b = data
	return nil
}

// Unbuilt is a member that the API has and that nothing here carries out, so a request that uses it
// is refused rather than half obeyed. It is true where the request has a value.
type Unbuilt bool
