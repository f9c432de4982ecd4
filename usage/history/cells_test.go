package history

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// randomCells makes a day as it comes: gaps, long runs of the same, now and then a large number.
func randomCells(random *rand.Rand, parts int) []cell {
	var cells []cell
	var c Counts
	for at := 0; at < parts; at++ {
		switch random.IntN(6) {
		case 0:
			at += random.IntN(20)
		case 1:
			c = Counts{random.Uint64N(300), 0, random.Uint64() >> random.IntN(64), 1, random.Uint64N(3)}
		case 2:
			c = Counts{}
		}
		if at < parts {
			cells = append(cells, newCell(at, c))
		}
	}
	return cells
}

func TestCellsRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		samples := randomCells(random, int(samplesPerDay))
		for _, want := range [][]cell{samples, hours(samples)} {
			got, err := decodeCells(encodeCells(want), samplesPerDay)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%v, %v, want %v", got, err, want)
			}
		}
	}
}

// Hours have what their samples had.
func TestHours(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		samples := randomCells(random, int(samplesPerDay))
		byHour := map[int][]cell{}
		for _, c := range samples {
			byHour[c.at/12] = append(byHour[c.at/12], c)
		}
		sums := hours(samples)
		if len(sums) != len(byHour) {
			t.Fatalf("%d hours of %d", len(sums), len(byHour))
		}
		for _, h := range sums {
			want := cell{at: h.at, min: byHour[h.at][0].min}
			for _, c := range byHour[h.at] {
				want.samples++
				for m := range c.sum {
					want.sum[m] += c.sum[m]
					want.min[m], want.max[m] = min(want.min[m], c.sum[m]), max(want.max[m], c.sum[m])
				}
			}
			if h != want {
				t.Fatalf("an hour is %+v, want %+v", h, want)
			}
		}
	}
}

func TestIdleDayIsSmall(t *testing.T) {
	var cells []cell
	for at := range int(samplesPerDay) {
		cells = append(cells, newCell(at, Counts{}))
	}
	if n := len(encodeCells(cells)); n > 12 {
		t.Errorf("an idle day takes %d bytes", n)
	}
}

// Hours of a host that came late are added to those that are there.
func TestAddHours(t *testing.T) {
	hour := func(at, samples int, n uint64) cell {
		c := newCell(at, Counts{n})
		c.samples = samples
		return c
	}
	got := addHours([]cell{hour(1, 12, 5), hour(3, 2, 1)}, []cell{hour(0, 12, 1), hour(3, 12, 7)})
	want := []cell{hour(0, 12, 1), hour(1, 12, 5), {at: 3, samples: 12, sum: Counts{8}, min: Counts{1}, max: Counts{7}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func FuzzDecodeCells(f *testing.F) {
	random := rand.New(rand.NewPCG(5, 6))
	f.Add(encodeCells(randomCells(random, int(samplesPerDay))))
	f.Add(encodeCells(hours(randomCells(random, int(samplesPerDay)))))
	f.Fuzz(func(t *testing.T, b []byte) {
		cells, err := decodeCells(b, samplesPerDay)
		if err != nil {
			return
		}
		for i, c := range cells {
			if c.at < 0 || c.at >= int(samplesPerDay) || i > 0 && c.at <= cells[i-1].at || c.samples < 1 {
				t.Fatalf("cell %d is %+v", i, c)
			}
		}
		again, err := decodeCells(encodeCells(cells), samplesPerDay)
		if err != nil || !reflect.DeepEqual(again, cells) {
			t.Fatalf("%v became %v, %v", cells, again, err)
		}
	})
}
