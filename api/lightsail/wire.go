package lightsail

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// epoch is a time on the wire: seconds since 1970 as a number with a fraction, to the millisecond.
// An ISO text would break the AWS SDK for Go.
type epoch struct{ time.Time }

// MarshalJSON writes the seconds with three digits behind the point.
func (e epoch) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(e.UnixMilli())/1000, 'f', 3, 64), nil
}

// The times that a request may name: the years that every form of a date can write.
const (
	firstSecond = -62135596800 // 0001-01-01
	lastSecond  = 253402300799 // 9999-12-31
)

// readNumber takes an integer, a fraction or an exponent: clients send all three.
func (e *epoch) readNumber(n json.Number) error {
	seconds, err := n.Float64()
	if err != nil || seconds < firstSecond || seconds > lastSecond {
		return errors.New("a timestamp is out of range")
	}
	whole, fraction := math.Modf(seconds)
	e.Time = time.Unix(int64(whole), int64(math.Round(fraction*1e3))*1e6).UTC()
	return nil
}

// double is a number that AWS writes with a fraction even when it is whole.
type double float64

// MarshalJSON writes 5 as 5.0.
func (d double) MarshalJSON() ([]byte, error) {
	f := float64(d)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%v has no form in JSON", f)
	}
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.AppendFloat(nil, f, 'f', 1, 64), nil
	}
	return json.Marshal(f)
}

// blob is binary data, in base64 on the wire.
type blob []byte

func (b *blob) readString(s string) error {
	data, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return errors.New("only base-64-encoded strings are convertible to bytes")
	}
	*b = data
	return nil
}

// unbuilt is a member that the API has and that nothing here carries out, so a request that uses it
// is refused rather than half obeyed. It is true where the request has a value.
type unbuilt bool
