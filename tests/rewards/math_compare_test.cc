// What counts as the same answer, category by category. Every pair is tried both ways, and every
// answer is compared with itself.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "rewards/math/compare.h"

namespace r1::rewards::math {
namespace {

struct Pair {
  const char* gold;
  const char* answer;
};

void ExpectVerdicts(const std::vector<Pair>& pairs, bool equal) {
  for (const Pair& pair : pairs) {
    SCOPED_TRACE(std::string(pair.gold) + "   " + pair.answer);
    const Comparison one_way = CompareAnswers(pair.gold, pair.answer);
    const Comparison other_way = CompareAnswers(pair.answer, pair.gold);
    EXPECT_EQ(one_way.verdict == Verdict::kEqual, equal) << one_way.reason;
    EXPECT_EQ(one_way.verdict, other_way.verdict) << other_way.reason;
    EXPECT_EQ(CompareAnswers(pair.gold, pair.gold).verdict, Verdict::kEqual);
    EXPECT_EQ(CompareAnswers(pair.answer, pair.answer).verdict, Verdict::kEqual);
  }
}

TEST(MathCompareTest, Numbers) {
  ExpectVerdicts(
      {
          {"12", "12."},
          {"½", "0.5"},
          {"１２", "12"},
          {R"(10,\!080)", "10080"},
          {"10{,}080", "10,080"},
          {R"(11,\! 111,\! 111,\! 100)", "11111111100"},
          {R"(137 \frac{1}{2})", "137.5"},
          {R"(1\frac{4}{5})", R"(\frac{9}{5})"},
          {R"(1\frac45)", "1 4/5"},
          {R"(-1\frac12)", "-1.5"},
          {R"(\frac 59)", "5/9"},
          {R"(\frac9{19})", R"(\dfrac{9}{19})"},
          {".35625", "0.35625"},
          {".0000672", R"(6.72\times10^{-5})"},
          {R"(\binom{5}{2})", "10"},
          {"(-8)^{1/3}", "-2"},
          {R"(\lfloor 3.7\rfloor)", "3"},
          {R"(\lceil 3.2\rceil)", "4"},
          {R"(\gcd(12,18))", "6"},
          {"100!", R"(\frac{101!}{101})"},
          {"2^{1000}", "4^{500}"},
          {R"(\theta)", "θ"},
          {"3.0", "3"},
          {R"(-\frac{1}{2})", R"(\frac{-1}{2})"},
          {R"(-\frac{1}{2})", "-.5"},
          {R"(3\frac{1}{2})", R"(\frac72)"},
          {R"(\frac{\frac{1}{2}}{3})", R"(\frac16)"},
          {"(2)(3)", "6"},
          {"2(3+4)", "14"},
          {R"(\boxed{5})", "5"},
          {"1{,}234.5", "1234.5"},
          {R"(\frac{1}{2})", "1/2"},
          {R"(\frac{1}{2})", "(1)/(2)"},
          {"2^{10}", "2**10"},
          {"2^{10}", "1024"},
          {R"(-\frac{35}{9})", "-35/9"},
          {"0.5", ".50"},
          {"1000000", "1,000,000"},
          {"1000000", "1 000 000"},
          {R"(7.0\times 10^{-3})", "0.007"},
          {"€5", "5"},
          {R"(\binom{10}{3})", "120"},
          {R"(\frac{10!}{3!7!})", "120"},
          {R"(\approx 3.5)", "3.5"},
          {"3.5", "3.50"},
          {"10^{-3}", "0.001"},
          {"1.0", "1"},
          {"-0", "0"},
          {"+5", "5"},
          {"--5", "5"},
          {R"(2\frac{1}{3})", R"(\frac{7}{3})"},
          {R"(2 \frac{1}{3})", "7/3"},
          {R"(\frac{2}{4})", R"(\frac12)"},
          {"4!", "24"},
          {"1/2", R"(\frac{2}{4})"},
          {"|{-3}|", "3"},
      },
      /*equal=*/true);
  ExpectVerdicts(
      {
          {"1/2^{99}", "1/2^{98}"},
          {R"(\frac{1}{2004!})", R"(\frac{1}{2006!})"},
          {"10^{-30}", R"(2\cdot 10^{-30})"},
          {"0.33", "1/3"},
          {"0.333333", R"(\frac13)"},
          {"100", "100!"},
          {"10^{100}+1", "10^{100}"},
          {"1+10^{-100}", "1"},
          {"0", "10^{-300}"},
          {"2^{1000}", "2^{1000}+1"},
          {"9^{9^{9^9}}", "9^{9^{9^8}}"},
          {"1.5", R"(1\frac{1}{3})"},
          {"-1", "1"},
          {"1000", "1,00"},
          {"0", "0.0001"},
          {"9", "3^{3}"},
          {R"(\frac{1}{3})", "0.3333"},
          {"2^{3^2}", "(2^3)^2"},
          {"999999999999", "1000000000000"},
          {"0.999", "1"},
          {R"(\frac{22}{7})", "3.14"},
      },
      /*equal=*/false);
}

TEST(MathCompareTest, Literals) {
  ExpectVerdicts(
      {
          {"52_8", "52_{8}"},
          {"4210_{5}", "4210_5"},
          {"101_2", "5"},
          {R"(0.\overline{142857})", "1/7"},
          {R"(0.1\overline{6})", "1/6"},
          {"1.2e3", "1200"},
          {"1:2", "2:4"},
          {"1:2:3", "2:4:6"},
          {R"(\frac{3}{4})", "3:4"},
          {"3:2", R"(\frac{3}{2})"},
          {"3:2", "3 : 2"},
          {"3:2", "6:4"},
          {R"(\overline{3-4i})", "3+4i"},
          {"101_{2}", "(101)_2"},
      },
      /*equal=*/true);
  ExpectVerdicts(
      {
          {"101_2", "101"},
          {"101_2", "110_2"},
          {"3:00", "6:00"},
          {"1:2", "2:1"},
          {R"(\frac{3}{2})", "2:3"},
          {"12:30", "12:45"},
          {R"(0.\overline{9})", "0.999999"},
      },
      /*equal=*/false);
}

TEST(MathCompareTest, Units) {
  ExpectVerdicts(
      {
          {R"(\cos 15^\circ)", R"(\frac{\sqrt6+\sqrt2}{4})"},
          {"8918", R"(8918~\text{meters})"},
          {R"(50\%)", "50"},
          {R"(50\%)", "0.5"},
          {"0.5", R"(50\%)"},
          {R"(\frac12)", R"(50\%)"},
          {R"(50\%)", "1/2"},
          {R"(90^\circ)", "90"},
          {"90°", R"(90^{\circ})"},
          {R"(60^\circ)", R"(60 \text{ degrees})"},
          {R"(\$32,\!348)", "32348"},
          {R"(\$18.90)", "18.9"},
          {R"(5.4 \text{ cents})", "5.4"},
          {R"(15\mbox{ cm}^2)", "15"},
          {R"(15\mbox{ cm}^2)", R"(15 \text{ square centimeters})"},
          {R"(864 \mbox{ inches}^2)", "864"},
          {R"(864 \mbox{ inches}^2)", R"(864\text{ in}^2)"},
          {R"(\frac{270}7\text{ degrees})", R"(\frac{270}{7})"},
          {R"(\frac{\pi}{2})", R"(90^\circ)"},
          {"4.50", R"(\$4.50)"},
          {"10", R"(10 \text{ units})"},
          {R"(10\text{ units})", R"(10 \text{ cm})"},
          {"12", "12 apples"},
          {"12", "12 cm"},
          {R"(25\pi\text{ cm}^2)", R"(25\pi)"},
          {R"(10\%)", "0.1"},
          {R"(\angle ABC = 30^\circ)", "30"},
          {R"(2 \text{ and } -3)", "-3, 2"},
          {R"(\frac{3}{5}\text{ hours})", "0.6 hours"},
          {R"(6\text{ feet})", "6 ft"},
          {R"(72\text{ in}^3)", "72"},
          {R"(\text{Monday})", "Monday"},
          {R"(\text{Yes})", "yes"},
          {R"(\text{True})", "true"},
          {R"(\text{June 20})", "June 20"},
          {R"(\text{A, B})", "A, B"},
          {R"(\text{ABC})", "ABC"},
          {R"(1\frac{1}{2}\text{ hours})", "1.5"},
          {R"(45\%)", "45 percent"},
          {R"(45\%)", R"(45\text{ percent})"},
          {R"(45^\circ)", "45 degrees"},
          {R"(\$1{,}000)", "1000 dollars"},
          {R"(\$1,000.00)", "1000"},
          {R"(\sin 75^\circ)", R"(\frac{\sqrt6+\sqrt2}{4})"},
          {R"(\text{12 cm})", "12"},
          {R"(\text{12})", "12"},
          {R"(12\,\text{cm})", R"(12 \mathrm{~cm})"},
          {R"(12 \mathrm{~cm}^{2})", "12"},
          {R"(\text{none})", "None"},
          {R"(15\text{ mph})", "15"},
          {R"(1.5 \text{ hours})", "1.5 hr"},
      },
      /*equal=*/true);
  ExpectVerdicts(
      {
          {R"(\text{(A)})", "A, B, C, D"},
          {R"(5\text{ m})", R"(5\text{ cm})"},
          {R"(5\text{ minutes})", R"(5\text{ hours})"},
          {R"(\$5)", R"(5\text{ cents})"},
          {R"(5\%)", R"(5\text{ degrees})"},
          {R"(50\%)", "5"},
          {"5", "five"},
          {R"(\frac{16}{27})", R"(\frac{4}{3}x \text{ gallons})"},
          {R"(\text{Monday})", "Tuesday"},
          {R"(\text{Yes})", "No"},
          {R"(6\text{ feet})", R"(6\text{ inches})"},
          {R"(72\text{ in}^3)", R"(72\text{ in}^2)"},
          {R"(1.5 \text{ hours})", R"(1.5 \text{ minutes})"},
          {R"(45\%)", "4.5"},
          {"1", R"(100\%\cdot 2)"},
          {"C", R"(\text{C}_2)"},
          {"B", R"(\text{A and B})"},
      },
      /*equal=*/false);
}

TEST(MathCompareTest, Texts) {
  ExpectVerdicts(
      {
          {R"(\text{(B)})", "B"},
          {"B", "(B)"},
          {"B", R"(\text{B})"},
          {R"(\text{(B)})", "(B) 5"},
          {R"(\text{(B)}\ 12)", "B"},
          {R"(\text{even})", "even"},
          {R"(\text{Evelyn})", R"(\text{evelyn})"},
          {R"(\text{east})", R"(\textbf{east})"},
          {R"(\text{no solution})", "no solution"},
          {R"(\text{A})", "A"},
          {R"(\text{4:30 p.m.})", R"(\textrm{4:30 p.m.})"},
          {R"(4:30\text{ p.m.})", R"(4:30 \text{p.m.})"},
          {"A, C", "C, A"},
      },
      /*equal=*/true);
  ExpectVerdicts(
      {
          {"B", "(A) or (B)"},
          {"B", "(B)(C)"},
          {R"(\text{red})", R"(\text{blue})"},
          {"B", "C"},
          {"B", "D, B"},
          // A time of day in words is words.
          {R"(\text{4:30 p.m.})", R"(4:30 \text{ p.m.})"},
          {R"(\text{4:30 p.m.})", R"(\text{4:31 p.m.})"},
      },
      /*equal=*/false);
}

TEST(MathCompareTest, Lists) {
  ExpectVerdicts(
      {
          {R"(\{1,2\})", R"(\{2,1\})"},
          {"1,2", "2,1"},
          {"1,2", R"(\{1,2\})"},
          {R"(1 \text{ or } 2)", "1, 2"},
          {R"(x=1 \text{ or } x=2)", "1,2"},
          {"x=1, x=2", "1,2"},
          {"(x,y)=(1,2)", "x=1, y=2"},
          {"(1,2)", "x=1,y=2"},
          {R"(1\pm\sqrt2)", R"(1-\sqrt2, 1+\sqrt2)"},
          {R"(\{1\pm\sqrt5,-2\})", R"(\{-2,1+\sqrt5,1-\sqrt5\})"},
          {R"(\pm 2)", "2, -2"},
          {R"(1\,000\,000)", "10^6"},
          {R"(\emptyset)", R"(\varnothing)"},
          {"3,5,7", "7, 5, and 3"},
          {"-2,1", "1,-2"},
          {R"(\mathbb{R} \setminus \{0\})", R"(\mathbb{R}\setminus\{0\})"},
          {"(1,2),(3,4)", "(3,4),(1,2)"},
          {R"(\{(1,2),(3,4)\})", "(3,4), (1,2)"},
          {"(a,b,c)=(1,2,3)", "(1,2,3)"},
          {R"(x=\frac{1}{2}, y=3)", R"((\frac12, 3))"},
          {R"(\frac{-b\pm\sqrt{b^2-4ac}}{2a})",
           R"(\frac{-b+\sqrt{b^2-4ac}}{2a}, \frac{-b-\sqrt{b^2-4ac}}{2a})"},
          {R"(x = \pm 3)", "x=3, x=-3"},
          {R"(x=\pm3)", R"(\{-3,3\})"},
          {R"(x = \pm\sqrt{2})", R"(\pm \sqrt 2)"},
          {R"(\left\lfloor \frac{7}{2} \right\rfloor)", "3"},
          {R"(x=1,\ y=2)", "y=2, x=1"},
          {R"(\emptyset)", R"(\{\})"},
          {R"(\frac{1}{2}\text{ or }0.5)", R"(\frac12, \frac12)"},
          {R"(\{1,1,2\})", R"(\{1,2\})"},
          {R"(\max(3,5))", "5"},
      },
      /*equal=*/true);
  ExpectVerdicts(
      {
          {"(1,2)", "(2,1)"},
          {"(1,2)", R"(\{1,2\})"},
          {"5", "5, 6"},
          {"4", R"(\frac72 \text{ or } 4)"},
          {R"(\{5\})", R"(\{5,6\})"},
          {"1", "1,1"},
          {R"(\pm 1)", "1"},
          {"1", R"(\pm 1)"},
          {"12", "1,2"},
          {"(1,2),(3,4)", "(1,2),(4,3)"},
          {"2", "2, 3"},
          {R"(\{1,2,3\})", "(1,2,3)"},
      },
      /*equal=*/false);
}

TEST(MathCompareTest, IntervalsAndInequalities) {
  ExpectVerdicts(
      {
          {R"((-\infty,3))", "x<3"},
          {"2x>=10", "x>=5"},
          {"∞", R"(\infty)"},
          {R"((-\infty,2)\cup(3,\infty))", R"((3,\infty)\cup(-\infty,2))"},
          {R"(x<2 \text{ or } x>3)", R"((-\infty,2)\cup(3,\infty))"},
          {R"(x \in [-2,7])", "[-2,7]"},
          {R"(-2 \le x \le 7)", "[-2,7]"},
          {R"(x \in [-2,7])", R"(-2\leq x\leq 7)"},
          {"0<x<1", "1>x>0"},
          {R"(\left(\frac{3}{5},\frac{8}{3}\right])", "(0.6, 8/3]"},
          {R"((5,\infty))", R"((5, +\infty))"},
          {R"((5,\infty))", "x > 5"},
          {R"(x \ne 3)", R"(x \neq 3)"},
          {R"(x\neq 3)", R"(3 \ne x)"},
          {R"(\left\{-1,3\right\})", R"(\{3,-1\})"},
          {"-2<x<2", R"(x \in (-2,2))"},
          {R"([0,\infty))", R"(x\ge0)"},
          {R"(x > \frac{3}{2})", R"((\frac{3}{2},\infty))"},
          {R"(x>\sqrt2)", R"((\sqrt{2}, \infty))"},
          {R"((-\infty,-1] \cup [1,\infty))", R"(x \le -1 \text{ or } x\ge 1)"},
          {R"((-\infty, \infty))", R"(\mathbb{R})"},
          {R"(\left(\frac{1}{2}\right)^{3})", R"(\frac18)"},
          {R"(\infty)", R"(+\infty)"},
          {"(3,4]", R"(3<x\le4)"},
      },
      /*equal=*/true);
  ExpectVerdicts(
      {
          {"(1,2)", "[1,2]"},
          {"[0,1)", "(0,1)"},
          {"x<5", R"(x \le 5)"},
          {"x<5", "x>5"},
          {"x<5", "y<5"},
          {R"(\infty)", R"(-\infty)"},
          {R"(\infty)", "1000"},
          {"x>2, x<5", "x>2"},
          {R"((-\infty,2)\cup(3,\infty))", R"((-\infty,2))"},
          {R"([0,\infty))", R"((0,\infty))"},
          {"(3,4]", "[3,4]"},
          {"(0,1)", R"(0 \le x < 1)"},
      },
      /*equal=*/false);
}

TEST(MathCompareTest, Equations) {
  ExpectVerdicts(
      {
          {"y=2x+3", "2x - y + 3 = 0"},
          {"5x - 7y + 11z + 4 = 0", "-5x+7y-11z-4=0"},
          {"5x - 7y + 11z + 4 = 0", "5x-7y+11z=-4"},
          {"xy=1", R"(y=\frac1x)"},
          {"x^2+y^2=4", R"(\frac{x^2}{4}+\frac{y^2}{4}=1)"},
          {"y = 2x+3", "2x+3"},
          {"x=5", "5"},
          {"f(x)=x^2+1", "x^2+1"},
          {"f(x)=x^2+1", "y = x^2+1"},
          {"5", "2+3=5"},
          {"5", "x=5"},
          {R"(\frac{3}{4})", R"(x = \frac{6}{8} = \frac{3}{4})"},
          {"y = mx+b", "mx+b=y"},
          {"x + 2y = 4", R"(y = -\frac12 x+2)"},
          {"x^2+y^2-25=0", "x^2 + y^2 = 25"},
          {"(x-1)^2+(y+2)^2=9", "x^2-2x+y^2+4y=4"},
          {"y^2=4x", R"(x=\frac{y^2}{4})"},
          {R"(S_n = \frac{n(n+1)}{2})", R"(\frac{n(n+1)}{2})"},
          {"a_n = 2n-1", "2n-1"},
          {R"(P(A)=\frac13)", R"(\frac13)"},
          {"f^{-1}(x) = x-1", "x-1"},
          {R"(\frac{dy}{dx} = 2x)", "2x"},
      },
      /*equal=*/true);
  ExpectVerdicts(
      {
          {"3x-y+13=0", "3x+4y+14=0"},
          {"2x=10", "5"},
          {"x^2+1=5", "5"},
          {"5", "5 = 6"},
          {"5", "2+2=5"},
          {"x=1", "x=2"},
          {"x=1", "y=2"},
          {"x = 3", "x^2=9"},
          {"x=2", "x=-2"},
          {"y=2x", "y=2x+1"},
          {"f(x)=x^2", "f(x)=x^3"},
          {"x^2+y^2=25", "x^2+y^2=5"},
          {"2x+3y=6", "2x+3y"},
      },
      /*equal=*/false);
}

TEST(MathCompareTest, Matrices) {
  ExpectVerdicts(
      {
          {R"(\begin{pmatrix}1&2\\3&4\end{pmatrix})", R"(\begin{bmatrix}1&2\\3&4\end{bmatrix})"},
          {R"(\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix})",
           R"(\begin{pmatrix} 0.2 \\ -3.6 \end{pmatrix})"},
          {R"(\begin{array}{cc}1&2\\3&4\end{array})", R"(\begin{pmatrix}1&2\\3&4\end{pmatrix})"},
          {R"(\begin{bmatrix} 1 & 0 \\ 0 & 1 \end{bmatrix})",
           R"(\left[\begin{array}{cc} 1 & 0 \\ 0 & 1 \end{array}\right])"},
          {R"(\begin{pmatrix} \frac{1}{2} \\ 3 \end{pmatrix})",
           R"(\begin{pmatrix}0.5\\3\end{pmatrix})"},
      },
      /*equal=*/true);
  ExpectVerdicts(
      {
          {R"(\begin{pmatrix}1\\2\end{pmatrix})", R"(\begin{pmatrix}1&2\end{pmatrix})"},
          {"(1,2)", R"(\begin{pmatrix}1\\2\end{pmatrix})"},
          {R"(\begin{pmatrix}1&0\\0&1\end{pmatrix})", "1"},
      },
      /*equal=*/false);
}

TEST(MathCompareTest, ConstantsAndFunctions) {
  ExpectVerdicts(
      {
          {"(1+i)^2", "2i"},
          {"1/i", "-i"},
          {R"(e^{i\pi})", "-1"},
          {R"(e^{i \pi})", "-1"},
          {"|3+4i|", "5"},
          {R"(\sqrt{1/n})", R"(1/\sqrt{n})"},
          {R"(7\pi)", "7*pi"},
          {R"(1+\sqrt5)", "1 + sqrt(5)"},
          {"√2", R"(\sqrt{2})"},
          {"116-75i", "116 - 75 i"},
          {"116 - 75i", "116-75i"},
          {R"(\log_2 3)", R"(\frac{\ln 3}{\ln 2})"},
          {R"(\ln 6)", R"(\ln2+\ln3)"},
          {R"(\log 100)", "2"},
          {R"(e^{2\ln x})", "x^2"},
          {R"(\sin(2x))", R"(2\sin(x)\cos(x))"},
          {R"(\tan^{-1} 1)", R"(\pi/4)"},
          {R"(\sin^{-1} x)", R"(\arcsin x)"},
          {R"(\sec x)", R"(1/\cos x)"},
          {R"(\frac{e^x+e^{-x}}{2})", R"(\cosh x)"},
          {R"(\sqrt{x^2})", "|x|"},
          {R"(\sqrt[3]{-8})", "-2"},
          {"8^{2/3}", "4"},
          {R"(\sqrt{50})", R"(5\sqrt 2)"},
          {R"(\frac{1}{\sqrt{2}})", R"(\frac{\sqrt{2}}{2})"},
          {R"(\sqrt{3+2\sqrt2})", R"(1+\sqrt2)"},
          {R"(2\sqrt{3}i)", R"(2i\sqrt{3})"},
          {R"(\mathrm{e}^2)", "e^2"},
          {R"(\frac{1}{2}\ln 3)", R"(\ln\sqrt3)"},
          {R"(\frac{\sqrt{3}}{3})", R"(\frac{1}{\sqrt3})"},
          {R"(\frac{20000}{\pi})", "20000/π"},
          {"(-1)^n", R"(\cos(n\pi))"},
          {R"(\sqrt{2}\sqrt{3})", R"(\sqrt{6})"},
          {R"(\sqrt{x}\sqrt{y})", R"(\sqrt{xy})"},
          {R"(2\cos^2 x - 1)", R"(\cos 2x)"},
          {R"(\sqrt{16})", "4"},
          {"16^{0.25}", "2"},
          {R"(3\sqrt{13})", R"(3 \cdot \sqrt{13})"},
          {R"(3\sqrt{13})", "3 * sqrt(13)"},
          {R"(\frac{\pi}{6})", "pi/6"},
          {R"(\frac{\sqrt{3}}{2})", "sqrt(3)/2"},
          {R"(\frac{\sqrt{3}}{2})", R"(\sqrt{3}/2)"},
          {R"(\ln(2))", "ln 2"},
          {R"(\log_{2}(x))", R"(\frac{\log x}{\log 2})"},
          {R"(\tan\theta)", R"(\frac{\sin\theta}{\cos\theta})"},
          {R"(x\sin x)", R"(\sin(x) x)"},
          {R"(\frac{1}{3}\pi r^2 h)", R"(\frac{\pi r^2 h}{3})"},
          {R"(\sqrt{a^2})", "|a|"},
          {"-2 + 7i", "7i-2"},
          {"5i", "5 i"},
          {R"(\frac{3+4i}{5})", R"(\frac35+\frac45 i)"},
          {"1+i", R"(\sqrt2 e^{i\pi/4})"},
          {R"(\sqrt{-4})", "2i"},
          {R"(2e^{i\pi/3})", R"(1+\sqrt{3}i)"},
          {R"(\cos\frac{\pi}{5})", R"(\frac{1+\sqrt5}{4})"},
          {R"(\arcsin\frac12)", R"(\frac{\pi}{6})"},
          {R"(\log_4 8)", R"(\frac32)"},
          {R"(\log_{\frac12} 8)", "-3"},
          {R"(e^{\ln 5})", "5"},
          {"x^{2/3}", R"(\sqrt[3]{x^2})"},
          {"x^{1/2}", R"(\sqrt{x})"},
          {R"(\frac{x}{\sqrt{x}})", R"(\sqrt{x})"},
          {R"(\sqrt{\frac{a}{b}})", R"(\frac{\sqrt a}{\sqrt b})"},
          {R"(\ln x^2)", R"(2\ln x)"},
          {R"(\sqrt[4]{16})", "2"},
          {R"(\sqrt[n]{x})", "x^{1/n}"},
          {R"(\frac{\ln 8}{\ln 2})", "3"},
          {R"(\cot x)", R"(\frac{1}{\tan x})"},
          {R"(\sin^2\theta)", R"(1-\cos^2\theta)"},
          {R"(\sin^2(x))", R"((\sin x)^2)"},
          {R"(\sin(x)^2)", R"(\sin^2 x)"},
          {R"(\pi r^2)", "πr²"},
          {R"((2n+1)\pi)", R"(\pi(2n+1))"},
      },
      /*equal=*/true);
  ExpectVerdicts(
      {
          {"e^{-100}", "e^{-101}"},
          {R"(4\sqrt(2))", "4"},
          {R"(\sqrt(2))", R"(4\sqrt(2))"},
          {R"(\sqrt{x^2})", "x"},
          {"3.14159", R"(\pi)"},
          {"22/7", R"(\pi)"},
          {R"(\sqrt{10^{100}+1})", "10^{50}"},
          {"1+e^{-1000}", "1"},
          {"0", "e^{-5000}"},
          {R"(\ln(x))", R"(\log_{10} x)"},
          {R"(\sin x)", R"(\cos x)"},
          {"i", "-i"},
          {"1+i", "1-i"},
          {R"(\sqrt{a^2+b^2})", "a+b"},
          {R"(\sqrt{2})", "1.41"},
          {R"(\log_2 8)", R"(\log_3 8)"},
          {R"(\sin^{-1}x)", R"(\frac{1}{\sin x})"},
          {R"(\pi)", "180"},
      },
      /*equal=*/false);
}

TEST(MathCompareTest, Polynomials) {
  ExpectVerdicts(
      {
          {"x²", "x^2"},
          {R"(\binom{n}{k})", R"(\frac{n!}{k!(n-k)!})"},
          {"n!", R"(n\cdot(n-1)!)"},
          {R"(\frac{x^2-1}{x-1})", "x+1"},
          {R"(\frac1x+\frac1y)", R"(\frac{x+y}{xy})"},
          {"(x+y)^3", "x^3+3x^2y+3xy^2+y^3"},
          {"x^5 - x^4 + x^3 - x^2 + x - 1", "-1+x-x^2+x^3-x^4+x^5"},
          {"a_1", "a_{1}"},
          {"x_1+x_2", "x_2+x_1"},
          {R"(\frac{n(n+1)}{2})", "n(n+1)/2"},
          {"2^{n+1}", R"(2\cdot2^n)"},
          {"a^2 - b^2", "(a+b)(a-b)"},
          {"|x-2|", "|2-x|"},
          {"0.5x", R"(\frac{x}{2})"},
          {"p - q", "-q+p"},
          {"x^3+3x-6", "x^{3}+3x-6"},
          {R"(\frac{d}{2})", "0.5d"},
          {"(x-1)(x+1)(x^2+1)", "x^4-1"},
          {"n^2+n", "n(n+1)"},
          {R"(2^x\cdot 2^y)", "2^{x+y}"},
          {R"(x \approx 3.5)", "3.5"},
          {"3x^{2}y", "3yx^2"},
          {R"(\lvert x \rvert)", "|x|"},
          {R"(\dfrac{a}{b})", "a/b"},
          {"a^{-1}", "1/a"},
          {"(ab)^2", "a^2b^2"},
          {R"(\frac{1}{1+\frac{1}{x}})", R"(\frac{x}{x+1})"},
      },
      /*equal=*/true);
  ExpectVerdicts(
      {
          {R"(1-\frac1e)", R"(1+\frac1e)"},
          {"x", "|x|"},
          {"x^2", "x^3"},
          {"x+1", "x+2"},
          {"x_1", "x_2"},
          {"X", "x"},
          {R"(\frac{1}{x+y})", R"(\frac1x+\frac1y)"},
          {"(a+5)(b+2)", "(a+2)(b+5)"},
          {R"(\mathbb{R})", R"(\mathbb{Z})"},
          {"a/b", "b/a"},
          {"x^{1/2}", "x^{1/3}"},
          {"-x^2", "(-x)^2"},
          {"1/2x", R"(\frac{2}{x})"},
          {"a_{12}", "a_{1}2"},
          {"n(n+1)", "n(n-1)"},
          {"5", "5x"},
          {"A", "a+b"},
      },
      /*equal=*/false);
}

TEST(MathCompareTest, GoldThatCannotBeReadIsSaid) {
  for (const char* gold : {"", " ", "\\frac{1", "(1,2", "\\sum", "1 2", "\\", "^", "{", "x^"}) {
    const Comparison comparison = CompareAnswers(gold, "1");
    EXPECT_FALSE(comparison.gold_is_readable) << gold;
    EXPECT_STREQ(comparison.reason, "unparseable_gold");
    EXPECT_NE(comparison.verdict, Verdict::kEqual);
  }
  const Comparison answer = CompareAnswers("1", "\\frac{1");
  EXPECT_TRUE(answer.gold_is_readable);
  EXPECT_STREQ(answer.reason, "unparseable_answer");
  EXPECT_EQ(answer.verdict, Verdict::kDifferent);
}

TEST(MathCompareTest, WhatCannotBeProvedIsUndecided) {
  EXPECT_EQ(CompareAnswers("2^{1000000}", "2^{1000000}+1").verdict, Verdict::kUndecided);
  EXPECT_EQ(CompareAnswers("\\frac{1}{0}", "2").verdict, Verdict::kUndecided);
  EXPECT_EQ(CompareAnswers("1+e^{-100000}", "1").verdict, Verdict::kUndecided);
}

}  // namespace
}  // namespace r1::rewards::math
