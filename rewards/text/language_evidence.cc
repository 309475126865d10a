#include "rewards/text/language_evidence.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace r1::rewards {
namespace {

constexpr size_t kOther = kLatinLanguages.size() - 1;

// Common words of each language in the order of kLatinLanguages, with words of mathematical
// explanations; our own choice. A word of several languages is evidence for each of them, in equal
// parts.
constexpr const char* kCommonWords[] = {
    // en
    "about above across after again against air all almost along also always an and animal "
    "another answer any are around as asked at away back be because been before began being "
    "below best better between big both boy but by calculate called came can car change check "
    "children city come cost costs could country day did didn different divided do does don "
    "down during each earth end enough equal equals equation even ever every example far "
    "father feet few finally find first five food for form found four from get give given "
    "gives go going good got great had hand hard has have head hear heard help hence her here "
    "high him himself his home house how however if important in into is it its just keep "
    "kind knew know land large last learn left let life light like line little live long look "
    "looked made make man many may me means men might minus money more morning most mother "
    "much must my name near need never new next night no not now number of off often old on "
    "once one only or other our out over own page paper part people per picture place play "
    "plus point put read right room said same saw say school sea second see seen sentence set "
    "several she should show side since small so solution solve some something sometimes soon "
    "sound step still story study such sum sun suppose sure take tell than that the their "
    "them then there therefore these they thing think third this those thought three through "
    "thus time times to today together told too took top total toward try turned two under "
    "until up us use using usually value values very wait want was water way we well went "
    "were what when where which while white who whole why will with without word words work "
    "world would write year young your",
    // de
    "aber alle als also am an antwort anzahl auch auf aus bei beide beim berechnen bis daher "
    "damit danach dann das dass den denn der des deshalb dich die diese diesem dieser dieses "
    "dir doch dort drei durch ein eine einem einen einer eines er ergebnis ergibt es euch für "
    "ganz gegen geteilt gibt gleich gleichung gut habe haben hat hatte hier ich ihm ihn ihnen "
    "ihr ihre immer in insgesamt ist jahr jede jeder jedes jetzt kann keine können könnte "
    "lösung mal man mehr mich mir mit muss müssen nach nicht noch nur ob oder ohne rechnen "
    "sagte schon schritt sehr sei sein seine seiner seit sich sie sind so soll sollte summe "
    "um und uns unter viel viele vom von vor war was weil welche welcher welches wenn werden "
    "wie wieder will wir wird worden wurde wurden würde zahl zahlen zu zuerst zum zunächst "
    "zur zwei zwischen über",
    // es
    "además ahora al algo ante antes así aunque ayer año años bien cada calcular casa caso "
    "como con contra cuando cuántas cuánto cuántos de del desde después dijo donde dos "
    "durante día ecuación el ella ellos en entonces entre era es esa ese eso esta estaba "
    "estado este estos está finalmente forma fue general gobierno gran ha había hace hacer "
    "hacia han hasta hay hecho igual la las le les lo los luego mayor me menos mi mientras "
    "mismo momento mucho mundo muy más nada necesitamos ni no nos número números otra otro "
    "otros para parte paso país pero poco por porque pregunta presidente primera primero "
    "problema puede que quien qué respuesta se segundo según ser si sido siempre sin sino "
    "sobre solo solución son su suma sus sí sólo también tan tanto te tenemos tercero tiempo "
    "tiene todo todos total tres un una uno unos vamos vez vida ya yo él",
    // fr
    "ainsi alors ans après au aucun aussi autre autres aux avait avant avec avoir bien "
    "calculer calculons car ce ceci cela celle celui ces cette ceux chaque chez cinq combien "
    "comme contre dans de des deux deuxième donc dont du elle elles en encore enfin ensuite "
    "entre est et faire fait faut il ils jamais je la le les leur leurs lui ma maintenant "
    "mais mes moins mon même ne nombre nombres nos notre nous on ou où par parce pas peut "
    "plus plusieurs pour premier première problème puis quand quatre que quelque quelques "
    "question qui reste rien réponse sa sans se ses si solution somme son sont sous sur ton "
    "toujours tous tout trois trouver très tu un une vos votre vous voyons ça égal égale "
    "équation étaient était étape été être",
    // it
    "abbiamo ad ai al alla alle allora altre altri altro anche ancora anni bene calcolare che "
    "chi ci cinque come con così cui da dai dal dalla degli dei del dell della delle di "
    "dobbiamo domanda dopo dove due ed equazione era essere fare fatto fra già gli ha hanno "
    "il in infine la le lo loro ma mentre mi molto ne negli nei nel nella non numeri numero "
    "ogni ora passo per perché però più poi possiamo posso prima primo problema può quale "
    "quali quando quante quanti quanto quattro quello questa questo quindi risposta se "
    "secondo senza si sia solo soluzione somma sono stata stato stesso su sua sulla suo tra "
    "tre tutti tutto uguale un una uno",
    // nl
    "aan al alle als andere antwoord berekenen bij daar daarna dan dat de deze die dit doen "
    "door drie dus een eens eerste elke en er gaan geen gelijk getal getallen goed haar had "
    "hebben heeft het hier hij hoe hoeveel hun iedere ik in is jaar je kan kunnen laten maar "
    "maken meer mensen met mijn moet moeten na naar niet nog nu of om omdat onder ons onze "
    "ook op oplossing over som stap te tegen toen tot totaal tussen twee tweede uit van veel "
    "vergelijking vervolgens vier vijf voor vraag waar want was wat we weer wel werd wie "
    "worden wordt zal ze zich zien zijn zo zonder zou zouden",
    // pt
    "agora ao aos aquela aquele aquilo as assim até cada calcular cinco com como da das de "
    "dela delas dele deles depois do dois dos duas ela elas ele eles em entre então equação "
    "era essa essas esse esses esta estamos estas estava este estes estou está estão eu fazer "
    "finalmente foi foram fosse havia há igual isso isto já lhe lhes mais mas me mesmo meu "
    "meus minha minhas muito na nas nem no nos nossa nosso num numa não nós número números os "
    "ou para passo pela pelas pelo pelos pergunta pode por porque precisamos primeiro "
    "problema qual quando quantas quantos quatro que quem resposta se segundo seja sem ser "
    "será seu seus solução soma sua suas só também te tem temos tenho ter teu tinha três tu "
    "tua têm um uma vamos você vocês vos às",
};

struct Hint {
  const char* text;
  const char* languages;  // separated by spaces
};

// Letters that only some of the languages have.
constexpr Hint kLetters[] = {
    {"ß", "de"},          {"ä", "de other"},    {"ö", "de other"}, {"ü", "de es other"},
    {"ñ", "es"},          {"á", "es pt other"}, {"í", "es pt"},    {"ó", "es pt other"},
    {"ú", "es pt"},       {"é", "fr es pt it"}, {"ê", "fr pt"},    {"â", "fr pt"},
    {"ô", "fr pt"},       {"î", "fr"},          {"û", "fr"},       {"œ", "fr"},
    {"ç", "fr pt other"}, {"è", "fr it"},       {"à", "fr it pt"}, {"ù", "fr it"},
    {"ì", "it"},          {"ò", "it"},          {"ã", "pt"},       {"õ", "pt"},
    {"ë", "nl fr"},       {"ï", "nl fr"},
};

// Endings of words of more than their own length, and a few sounds that only one spelling has.
constexpr Hint kEndings[] = {
    {"ing", "en"},   {"ght", "en"},    {"ould", "en"}, {"ness", "en"},    {"ly", "en"},
    {"ung", "de"},   {"lich", "de"},   {"keit", "de"}, {"heit", "de"},    {"isch", "de"},
    {"ción", "es"},  {"ciones", "es"}, {"dad", "es"},  {"iendo", "es"},   {"amos", "es pt"},
    {"eux", "fr"},   {"aient", "fr"},  {"eurs", "fr"}, {"ement", "fr"},   {"ité", "fr"},
    {"zione", "it"}, {"zioni", "it"},  {"ità", "it"},  {"iamo", "it"},    {"mente", "es it pt"},
    {"ção", "pt"},   {"ções", "pt"},   {"dade", "pt"}, {"endo", "pt it"}, {"heid", "nl"},
    {"lijk", "nl"},  {"ijk", "nl"},    {"aar", "nl"},  {"eren", "nl de"},
};
constexpr float kEndingWeight = 0.5F;

size_t IndexOf(absl::string_view language) {
  const auto* found = std::find(kLatinLanguages.begin(), kLatinLanguages.end(), language);
  return static_cast<size_t>(std::distance(kLatinLanguages.begin(), found));
}

void AddShares(const std::vector<absl::string_view>& languages, float weight, Evidence& evidence) {
  const float share = weight / static_cast<float>(languages.size());
  for (const absl::string_view language : languages) evidence[IndexOf(language)] += share;
}

using WordTable = absl::flat_hash_map<absl::string_view, Evidence>;

const WordTable& CommonWords() {
  static const auto* table = [] {
    auto* words = new WordTable;
    for (size_t language = 0; language < std::size(kCommonWords); ++language) {
      for (const absl::string_view word : absl::StrSplit(kCommonWords[language], ' ')) {
        (*words)[word][language] = 1;
      }
    }
    for (auto& [word, evidence] : *words) {
      float languages = 0;
      for (const float share : evidence) languages += share;
      for (float& share : evidence) share /= languages;
    }
    return words;
  }();
  return *table;
}

bool IsAscii(absl::string_view word) {
  return std::all_of(word.begin(), word.end(), [](char c) { return (c & 0x80) == 0; });
}

}  // namespace

Evidence EvidenceOf(absl::string_view word) {
  const auto found = CommonWords().find(word);
  if (found != CommonWords().end()) return found->second;
  Evidence evidence = {};
  for (const Hint& ending : kEndings) {
    const absl::string_view text = ending.text;
    if (word.size() > text.size() && absl::EndsWith(word, text)) {
      AddShares(absl::StrSplit(ending.languages, ' '), kEndingWeight, evidence);
    }
  }
  if (IsAscii(word)) return evidence;
  bool is_explained = false;
  for (const Hint& letter : kLetters) {
    if (!absl::StrContains(word, letter.text)) continue;
    is_explained = true;
    AddShares(absl::StrSplit(letter.languages, ' '), 1, evidence);
  }
  if (!is_explained) evidence[kOther] += 1;
  return evidence;
}

}  // namespace r1::rewards
