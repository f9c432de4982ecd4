package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

func TestSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"7d": 7 * 24 * time.Hour, "1d12h": 36 * time.Hour, "90s": 90 * time.Second, "0": 0, "-1h": -time.Hour, "99999d": 99999 * 24 * time.Hour,
	} {
		var got span
		if err := got.Set(text); err != nil || time.Duration(got) != want {
			t.Errorf("%s: %v, %v", text, time.Duration(got), err)
		}
		var again span
		if err := again.Set(got.String()); err != nil || again != got {
			t.Errorf("%s is printed as %s: %v, %v", text, &got, again, err)
		}
	}
	for text, want := range map[string]string{
		"": "number with a unit", "d": "number with a unit", "7": "number with a unit", "200": "number with a unit", "7w": "number with a unit",
		"1h7d": "number with a unit", "-7d": "number with a unit", "7d7": "number with a unit", "soon": "number with a unit",
		"9999999d": "too long: the most is 106751d", "99999999999999999999999d": "too long", "106751d24h": "too long", "99999999h": "too long",
	} {
		if err := new(span).Set(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestBriefly(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"10m": 10 * time.Minute, "1h": time.Hour, "1h30m": 90 * time.Minute, "14d": 14 * 24 * time.Hour, "24h": 24 * time.Hour, "0s": 0,
		"1m30s": 90 * time.Second, "20s": 20 * time.Second, "10h": 10 * time.Hour, "1.5s": 1500 * time.Millisecond, "-1h": -time.Hour, "1h0m10s": time.Hour + 10*time.Second,
	} {
		if got := openimds.Brief(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// A share is a percentage that says so, or a fraction, for every command alike.
func TestPortion(t *testing.T) {
	for text, want := range map[string]float64{"10%": 0.1, "0.1": 0.1, "0.1%": 0.001, "1": 1, "100%": 1, "0": 0, "1%": 0.01, "12.5%": 0.125} {
		var got portion
		if err := got.Set(text); err != nil || math.Abs(float64(got)-want) > 1e-12 {
			t.Errorf("%s: %v, %v", text, float64(got), err)
		}
	}
	for text, want := range map[string]string{
		"10": "write 10%", "1.5": "write 1.5%", "100": "write 100%", "101": "in percent (10%)", "101%": "in percent (10%)", "-1": "in percent", "NaN": "in percent",
		"NaN%": "in percent", "Inf": "in percent", "": "in percent", "%": "in percent", "ten": "in percent", "-5%": "in percent",
	} {
		if err := new(portion).Set(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
